"""The responses of `/v1/responses`, as models for the OpenAPI document.

True to https://github.com/openai/openai-openapi, less what this server never sends.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from protocol.chat.schemas import ChatCompletionTokenLogprob
from protocol.schemas import MODEL

ItemStatus = Literal["in_progress", "completed", "incomplete"]
_ITEM_STATUS = "`incomplete` if the response ended within it."


class ResponseOutputText(BaseModel):
    """The text of a message."""

    type: Literal["output_text"] = Field(description="Always `output_text`.")
    text: str = Field(description="The text.")
    annotations: list[dict[str, Any]] = Field(description="Empty: the model cites nothing.")
    logprobs: list[ChatCompletionTokenLogprob] = Field(description="Of its tokens, if they were asked for.")


class ResponseMessage(BaseModel):
    """A text of the answer."""

    id: str = Field(description="Its id, `msg_…`.")
    type: Literal["message"] = Field(description="Always `message`.")
    status: ItemStatus = Field(description=_ITEM_STATUS)
    role: Literal["assistant"] = Field(description="Always `assistant`.")
    content: list[ResponseOutputText] = Field(description="One text.")


class ResponseReasoningText(BaseModel):
    """The text of thoughts."""

    type: Literal["reasoning_text"] = Field(description="Always `reasoning_text`.")
    text: str = Field(description="The text.")


class ResponseReasoning(BaseModel):
    """What the model thought."""

    id: str = Field(description="Its id, `rs_…`.")
    type: Literal["reasoning"] = Field(description="Always `reasoning`.")
    status: ItemStatus = Field(description=_ITEM_STATUS)
    summary: list[dict[str, Any]] = Field(description="Empty: thoughts are not summed up.")
    content: list[ResponseReasoningText] = Field(description="The thoughts as they are.")


class ResponseFunctionCall(BaseModel):
    """A call of a function."""

    id: str = Field(description="Its id, `fc_…`.")
    type: Literal["function_call"] = Field(description="Always `function_call`.")
    status: ItemStatus = Field(description=_ITEM_STATUS)
    call_id: str = Field(description="For the item of type `function_call_output` that answers it.")
    name: str = Field(description="The name that the request declared.")
    namespace: str | None = Field(default=None, description="The namespace that it was declared in.")
    arguments: str = Field(description="The arguments as the model wrote them: JSON, if it made no mistake.")


class ResponseCustomCall(BaseModel):
    """A call of a custom tool."""

    id: str = Field(description="Its id, `ctc_…`.")
    type: Literal["custom_tool_call"] = Field(description="Always `custom_tool_call`.")
    status: ItemStatus = Field(description=_ITEM_STATUS)
    call_id: str = Field(description="For the item of type `custom_tool_call_output` that answers it.")
    name: str = Field(description="The name that the request declared.")
    namespace: str | None = Field(default=None, description="The namespace that it was declared in.")
    input: str = Field(description="The text for the tool.")


ResponseItem = Annotated[
    ResponseMessage | ResponseReasoning | ResponseFunctionCall | ResponseCustomCall, Field(discriminator="type")
]


class ResponseError(BaseModel):
    """Why a response has failed."""

    code: str = Field(description="`server_error`, `rate_limit_exceeded` or `invalid_prompt`.")
    message: str = Field(description="What went wrong.")


class IncompleteDetails(BaseModel):
    """Why a response is incomplete."""

    reason: Literal["max_output_tokens", "steered"] = Field(
        description="The limit of tokens was reached; or the client has steered the response, on a WebSocket."
    )


class InputTokensDetails(BaseModel):
    """Where the input's tokens came from."""

    cached_tokens: int = Field(description="Tokens taken from the prefix cache.")
    cache_write_tokens: int = Field(description="Always 0: writing to the cache costs nothing.")
    image_tokens: int | None = Field(default=None, description="Tokens that were images; present if there are.")
    audio_tokens: int | None = Field(default=None, description="Tokens that were sound; present if there are.")


class OutputTokensDetails(BaseModel):
    """What the output's tokens were."""

    reasoning_tokens: int = Field(description="Tokens of thoughts.")


class ResponseUsage(BaseModel):
    """Tokens of a response."""

    input_tokens: int = Field(description="Tokens of the input, with all earlier turns.")
    input_tokens_details: InputTokensDetails = Field(description="Breakdown of the input.")
    output_tokens: int = Field(description="Tokens generated.")
    output_tokens_details: OutputTokensDetails = Field(description="Breakdown of the output.")
    total_tokens: int = Field(description="Both together.")


_ECHO = "As the request gave it."


class ResponseConversation(BaseModel):
    """The conversation that a response is part of."""

    id: str = Field(description="Its id.")


class ResponseObject(BaseModel):
    """A response (OpenAI's `Response`)."""

    id: str = Field(description="Its id, `resp_…`.")
    object: Literal["response"] = Field(description="Always `response`.")
    created_at: int = Field(description="When it was begun, in seconds since 1970 (UTC).")
    completed_at: int | None = Field(description="When it was completed; null if it was not.")
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"] = Field(
        description="How far it is, or how it has ended."
    )
    error: ResponseError | None = Field(description="Why it has failed.")
    incomplete_details: IncompleteDetails | None = Field(description="Why it is incomplete.")
    output: list[ResponseItem] = Field(description="Texts, thoughts and calls, in the model's order.")
    usage: ResponseUsage | None = Field(description="Null until it has ended.")
    model: str = Field(description=MODEL)
    background: bool = Field(description=_ECHO)
    store: bool = Field(description=_ECHO)
    previous_response_id: str | None = Field(description=_ECHO)
    conversation: ResponseConversation | None = Field(default=None, description="Present if it is part of one.")
    instructions: str | None = Field(description=_ECHO)
    tools: list[dict[str, Any]] = Field(description="Those that the model was told of.")
    tool_choice: str | dict[str, Any] = Field(description=_ECHO)
    parallel_tool_calls: bool = Field(description=_ECHO)
    max_tool_calls: int | None = Field(description=_ECHO)
    max_output_tokens: int | None = Field(description=_ECHO)
    text: dict[str, Any] = Field(description=_ECHO)
    reasoning: dict[str, Any] = Field(description="`effort` as the request gave it; `summary` is null.")
    temperature: float = Field(description=_ECHO)
    top_p: float = Field(description=_ECHO)
    presence_penalty: float = Field(description=_ECHO)
    frequency_penalty: float = Field(description=_ECHO)
    top_logprobs: int = Field(description=_ECHO)
    truncation: Literal["auto", "disabled"] = Field(description=_ECHO)
    service_tier: Literal["default"] = Field(description="Always `default`.")
    prompt_cache_key: str | None = Field(description=_ECHO)
    safety_identifier: str | None = Field(description=_ECHO)
    user: str | None = Field(default=None, description=_ECHO)
    metadata: dict[str, str] = Field(description=_ECHO)


class ResponseEvent(BaseModel):
    """An event of a streamed response (OpenAI's `ResponseStreamEvent`). Which members it has depends on its type."""

    type: str = Field(description="What has happened; also the name of the event.")
    sequence_number: int = Field(description="Counts the events of the response, from 0 and without gaps.")
    response: ResponseObject | None = Field(default=None, description="Of the first two events and the last.")
    output_index: int | None = Field(default=None, description="Which item of the output.")
    item: ResponseItem | None = Field(default=None, description="An item that begins, or has ended.")
    item_id: str | None = Field(default=None, description="The id of the item.")
    content_index: int | None = Field(default=None, description="Which part of the item; always 0.")
    part: ResponseOutputText | ResponseReasoningText | None = Field(
        default=None, description="A part that begins, or has ended."
    )
    delta: str | None = Field(default=None, description="The text to append.")
    text: str | None = Field(default=None, description="The complete text.")
    arguments: str | None = Field(default=None, description="The complete arguments of a call.")
    name: str | None = Field(default=None, description="The name of a call whose arguments are complete.")
    input: str | None = Field(default=None, description="The complete input of a custom tool.")
    logprobs: list[ChatCompletionTokenLogprob] | None = Field(default=None, description="Of the tokens of a text.")
    obfuscation: str | None = Field(
        default=None, description="With `include_obfuscation`: padding of random letters, to be ignored."
    )


class InputTokenCount(BaseModel):
    """How many tokens an input has."""

    object: Literal["response.input_tokens"] = Field(description="Always `response.input_tokens`.")
    input_tokens: int = Field(description="Tokens of the input, with instructions, tools and earlier turns.")
