"""The responses of `/v1/chat/completions`, as models for the OpenAPI document.

True to https://github.com/openai/openai-openapi, less what this server never sends.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from protocol.schemas import (
    CREATED,
    FINISH,
    KV_TRANSFER,
    MODEL,
    PROMPT_IDS,
    PROMPT_LOGPROBS,
    TOKEN_IDS,
    USAGE,
    CompletionUsage,
    PromptLogprob,
)

ChatFinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class TopTokenLogprob(BaseModel):
    """A candidate for one position."""

    token: str = Field(description="The token's text.")
    logprob: float = Field(description="Its natural-log probability; -9999 for next to none.")
    bytes: list[int] | None = Field(description="The token's UTF-8 bytes, for tokens that are part of a character.")


class ChatCompletionTokenLogprob(TopTokenLogprob):
    """A generated token, and the candidates that stood beside it."""

    top_logprobs: list[TopTokenLogprob] = Field(description="As many candidates as `top_logprobs` asked for.")


class ChatLogprobs(BaseModel):
    """Log probabilities of a choice."""

    content: list[ChatCompletionTokenLogprob] | None = Field(description="One entry for each token of the content.")
    refusal: list[ChatCompletionTokenLogprob] | None = Field(description="One entry for each token of a refusal.")


class CalledFunction(BaseModel):
    """The function of a call."""

    name: str = Field(description="The name that the request declared.")
    arguments: str = Field(description="The arguments as the model wrote them: JSON, if it made no mistake.")


class CalledCustomTool(BaseModel):
    """The custom tool of a call."""

    name: str = Field(description="The name that the request declared.")
    input: str = Field(description="The text for it.")


class ChatToolCall(BaseModel):
    """A call that the model asks for."""

    id: str = Field(description="Its id, for the message of role `tool` that answers it.")
    type: Literal["function", "custom"] = Field(description="What is called.")
    function: CalledFunction | None = Field(default=None, description="With type `function`.")
    custom: CalledCustomTool | None = Field(default=None, description="With type `custom`.")


_REASONING = "What the model thought before; absent unless it did."


class ChatCompletionMessage(BaseModel):
    """What the model answered."""

    role: Literal["assistant"] = Field(description="Always `assistant`.")
    content: str | None = Field(description="The text of the answer; null beside calls without any.")
    refusal: str | None = Field(description="The text of a refusal; null here.")
    tool_calls: list[ChatToolCall] | None = Field(default=None, description="The calls; absent where there are none.")
    function_call: CalledFunction | None = Field(default=None, description="The call, if `functions` was sent.")
    reasoning: str | None = Field(default=None, description=_REASONING)
    reasoning_content: str | None = Field(default=None, description="The same, under its other name.")


class ChatCompletionChoice(BaseModel):
    """One of the `n` answers."""

    index: int = Field(description="Which of the answers this is, from 0.")
    message: ChatCompletionMessage = Field(description="The answer.")
    finish_reason: ChatFinishReason = Field(description=FINISH)
    logprobs: ChatLogprobs | None = Field(description="Log probabilities, if `logprobs` asked for them.")
    token_ids: list[int] | None = Field(default=None, description=TOKEN_IDS)


class ChatCompletion(BaseModel):
    """A whole chat answer (OpenAI's `CreateChatCompletionResponse`)."""

    id: str = Field(description="The answer's id, `chatcmpl-…`.")
    object: Literal["chat.completion"] = Field(description="Always `chat.completion`.")
    created: int = Field(description=CREATED)
    model: str = Field(description=MODEL)
    choices: list[ChatCompletionChoice] = Field(description="The `n` answers.")
    usage: CompletionUsage | None = Field(default=None, description=USAGE)
    prompt_logprobs: list[dict[str, PromptLogprob] | None] | None = Field(default=None, description=PROMPT_LOGPROBS)
    prompt_token_ids: list[int] | None = Field(default=None, description=PROMPT_IDS)
    kv_transfer_params: dict[str, Any] | None = Field(default=None, description=KV_TRANSFER)


class CalledFunctionDelta(BaseModel):
    """What a chunk adds to a call of a function."""

    name: str | None = Field(default=None, description="On the first delta of a call.")
    arguments: str | None = Field(default=None, description="Text to append.")


class CalledCustomToolDelta(BaseModel):
    """What a chunk adds to a call of a custom tool."""

    name: str | None = Field(default=None, description="On the first delta of a call.")
    input: str | None = Field(default=None, description="Text to append.")


class ChatToolCallDelta(BaseModel):
    """What a chunk adds to one call."""

    index: int = Field(description="Which of the choice's calls, from 0.")
    id: str | None = Field(default=None, description="On the first delta of a call.")
    type: Literal["function", "custom"] | None = Field(default=None, description="On the first delta of a call.")
    function: CalledFunctionDelta | None = Field(default=None, description="With type `function`.")
    custom: CalledCustomToolDelta | None = Field(default=None, description="With type `custom`.")


class ChatCompletionDelta(BaseModel):
    """What a chunk adds to an answer."""

    role: Literal["assistant"] | None = Field(default=None, description="On the first chunk of a choice.")
    content: str | None = Field(default=None, description="The text to append.")
    tool_calls: list[ChatToolCallDelta] | None = Field(default=None, description="What to add to the calls.")
    function_call: CalledFunctionDelta | None = Field(default=None, description="The same, if `functions` was sent.")
    reasoning: str | None = Field(default=None, description="Thoughts to append.")
    reasoning_content: str | None = Field(default=None, description="The same, under its other name.")
    refusal: str | None = Field(default=None, description="The text of a refusal to append.")


class ChatCompletionChunkChoice(BaseModel):
    """The part of a chunk that belongs to one of the `n` answers."""

    index: int = Field(description="Which of the answers this belongs to, from 0.")
    delta: ChatCompletionDelta = Field(description="What to append.")
    finish_reason: ChatFinishReason | None = Field(description=FINISH + " Null until then.")
    logprobs: ChatLogprobs | None = Field(default=None, description="Of the tokens in this chunk.")
    token_ids: list[int] | None = Field(default=None, description=TOKEN_IDS)


class ChatCompletionChunk(BaseModel):
    """A piece of a streamed chat answer (OpenAI's `CreateChatCompletionStreamResponse`)."""

    id: str = Field(description="The answer's id, the same in all its chunks.")
    object: Literal["chat.completion.chunk"] = Field(description="Always `chat.completion.chunk`.")
    created: int = Field(description=CREATED)
    model: str = Field(description=MODEL)
    choices: list[ChatCompletionChunkChoice] = Field(description="Empty in the chunk that carries the usage.")
    usage: CompletionUsage | None = Field(
        default=None,
        description="With `include_usage`: null in every chunk but the last, which has the usage.",
    )
    prompt_token_ids: list[int] | None = Field(default=None, description=PROMPT_IDS)
    obfuscation: str | None = Field(
        default=None, description="With `include_obfuscation`: padding of random letters, to be ignored."
    )
