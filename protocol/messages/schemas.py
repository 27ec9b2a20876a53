"""The responses of `/v1/messages`, as models for the OpenAPI document.

True to Anthropic's reference, less what this server never sends. https://platform.claude.com/docs/en/api/messages
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, RootModel

from protocol.messages.response import StopReason
from protocol.schemas import MODEL


class OutputTokensDetails(BaseModel):
    """What the output's tokens were."""

    thinking_tokens: int = Field(description="Tokens of thoughts.")


class MessageDeltaUsage(BaseModel):
    """Tokens counted so far. The three kinds of input tokens together are the prompt's."""

    input_tokens: int = Field(description="Tokens of the prompt that were computed.")
    cache_creation_input_tokens: int = Field(description="Always 0: caching is automatic here.")
    cache_read_input_tokens: int = Field(description="Tokens of the prompt taken from the prefix cache.")
    output_tokens: int = Field(description="Tokens generated, thoughts included.")
    output_tokens_details: OutputTokensDetails | None = Field(
        description="Breakdown of the output; null unless the model thought."
    )
    server_tool_use: None = Field(description="Always null.")


class MessageUsage(MessageDeltaUsage):
    """Tokens of a message."""

    cache_creation: None = Field(description="Always null.")
    inference_geo: None = Field(description="Always null.")
    service_tier: Literal["standard"] = Field(description="Always `standard`.")


class MessageText(BaseModel):
    """Text of the answer."""

    type: Literal["text"] = Field(description="Always `text`.")
    text: str = Field(description="The text.")
    citations: None = Field(description="Always null.")


class MessageThinking(BaseModel):
    """What the model thought; only if `thinking` asked for it."""

    type: Literal["thinking"] = Field(description="Always `thinking`.")
    thinking: str = Field(description="The thoughts; empty with `display: omitted`.")
    signature: str = Field(description="Send it back with the block. Any is taken.")


class DirectCaller(BaseModel):
    """The model makes the call, not code."""

    type: Literal["direct"] = Field(description="Always `direct`.")


class MessageToolUse(BaseModel):
    """A call that the model asks for."""

    type: Literal["tool_use"] = Field(description="Always `tool_use`.")
    id: str = Field(description="The call's id, for the `tool_result` that answers it.")
    name: str = Field(description="The tool's name.")
    input: dict[str, Any] = Field(description="The arguments.")
    caller: DirectCaller = Field(description="The model.")


MessageBlock = Annotated[MessageText | MessageThinking | MessageToolUse, Field(discriminator="type")]

_STOP_REASON = (
    "Why the answer ended: `end_turn`, `max_tokens`, `stop_sequence`, `tool_use` if it has calls, or "
    "`model_context_window_exceeded`; null while it goes on, and if it was cancelled."
)


class MessageResponse(BaseModel):
    """A whole answer (Anthropic's `Message`)."""

    id: str = Field(description="The message's id, `msg_…`.")
    type: Literal["message"] = Field(description="Always `message`.")
    role: Literal["assistant"] = Field(description="Always `assistant`.")
    model: str = Field(description=MODEL)
    content: list[MessageBlock] = Field(description="The blocks of the answer, in the order they were made.")
    stop_reason: StopReason | None = Field(description=_STOP_REASON)
    stop_sequence: str | None = Field(description="The one of `stop_sequences` that ended the answer.")
    stop_details: None = Field(description="Always null.")
    container: None = Field(description="Always null.")
    usage: MessageUsage = Field(description="The tokens of the request.")


class MessageStart(BaseModel):
    """The first event."""

    type: Literal["message_start"] = Field(description="Always `message_start`.")
    message: MessageResponse = Field(description="The message before its first block.")


class ContentBlockStart(BaseModel):
    """A block begins. The one before has been closed."""

    type: Literal["content_block_start"] = Field(description="Always `content_block_start`.")
    index: int = Field(description="The block's position, from 0.")
    content_block: MessageBlock = Field(description="The block, still empty.")


class TextDelta(BaseModel):
    """More of a `text` block."""

    type: Literal["text_delta"] = Field(description="Always `text_delta`.")
    text: str = Field(description="Text to append.")


class ThinkingDelta(BaseModel):
    """More of a `thinking` block."""

    type: Literal["thinking_delta"] = Field(description="Always `thinking_delta`.")
    thinking: str = Field(description="Thoughts to append.")


class SignatureDelta(BaseModel):
    """The signature of a `thinking` block, before it is closed."""

    type: Literal["signature_delta"] = Field(description="Always `signature_delta`.")
    signature: str = Field(description="The signature.")


class InputJsonDelta(BaseModel):
    """More of the `input` of a `tool_use` block."""

    type: Literal["input_json_delta"] = Field(description="Always `input_json_delta`.")
    partial_json: str = Field(description="JSON to append, as the model wrote it.")


class ContentBlockDelta(BaseModel):
    """More of the open block."""

    type: Literal["content_block_delta"] = Field(description="Always `content_block_delta`.")
    index: int = Field(description="The block's position.")
    delta: Annotated[TextDelta | ThinkingDelta | SignatureDelta | InputJsonDelta, Field(discriminator="type")]


class ContentBlockStop(BaseModel):
    """The open block is complete."""

    type: Literal["content_block_stop"] = Field(description="Always `content_block_stop`.")
    index: int = Field(description="The block's position.")


class MessageEnd(BaseModel):
    """Why the answer ended."""

    stop_reason: StopReason | None = Field(description=_STOP_REASON)
    stop_sequence: str | None = Field(description="The one of `stop_sequences` that ended the answer.")
    stop_details: None = Field(description="Always null.")
    container: None = Field(description="Always null.")


class MessageDelta(BaseModel):
    """The message is complete."""

    type: Literal["message_delta"] = Field(description="Always `message_delta`.")
    delta: MessageEnd = Field(description="Why it ended.")
    usage: MessageDeltaUsage = Field(description="The tokens of the whole request.")


class MessageStop(BaseModel):
    """The last event."""

    type: Literal["message_stop"] = Field(description="Always `message_stop`.")


_Events = MessageStart | ContentBlockStart | ContentBlockDelta | ContentBlockStop | MessageDelta | MessageStop


class MessageStreamEvent(RootModel[Annotated[_Events, Field(discriminator="type")]]):
    """An event of a streamed answer."""


class MessagesError(BaseModel):
    """What went wrong."""

    type: str = Field(description="`invalid_request_error`, `rate_limit_error`, `api_error` and so on, by the status.")
    message: str = Field(description="What went wrong, and what to change.")


class MessagesErrorResponse(BaseModel):
    """The response to a failed request, and the event of a failed stream."""

    type: Literal["error"] = Field(description="Always `error`.")
    error: MessagesError = Field(description="The error.")
    request_id: str | None = Field(default=None, description="The request's id; absent in a stream.")


class TokenCount(BaseModel):
    """The number of tokens of a prompt (Anthropic's `MessageTokensCount`)."""

    input_tokens: int = Field(description="Tokens of the prompt, with those of the chat template.")
