"""The responses of `/v1/chat/completions`, as models for the OpenAPI document.

True to https://github.com/openai/openai-openapi, less what this server never sends.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from protocol.schemas import CREATED, FINISH, MODEL, USAGE, CompletionUsage

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


class ChatCompletionMessage(BaseModel):
    """What the model answered."""

    role: Literal["assistant"] = Field(description="Always `assistant`.")
    content: str | None = Field(description="The text of the answer.")
    refusal: str | None = Field(description="The text of a refusal; null here.")


class ChatCompletionChoice(BaseModel):
    """One of the `n` answers."""

    index: int = Field(description="Which of the answers this is, from 0.")
    message: ChatCompletionMessage = Field(description="The answer.")
    finish_reason: ChatFinishReason = Field(description=FINISH)
    logprobs: ChatLogprobs | None = Field(description="Log probabilities, if `logprobs` asked for them.")


class ChatCompletion(BaseModel):
    """A whole chat answer (OpenAI's `CreateChatCompletionResponse`)."""

    id: str = Field(description="The answer's id, `chatcmpl-…`.")
    object: Literal["chat.completion"] = Field(description="Always `chat.completion`.")
    created: int = Field(description=CREATED)
    model: str = Field(description=MODEL)
    choices: list[ChatCompletionChoice] = Field(description="The `n` answers.")
    usage: CompletionUsage | None = Field(default=None, description=USAGE)


class ChatCompletionDelta(BaseModel):
    """What a chunk adds to an answer."""

    role: Literal["assistant"] | None = Field(default=None, description="On the first chunk of a choice.")
    content: str | None = Field(default=None, description="The text to append.")
    refusal: str | None = Field(default=None, description="The text of a refusal to append.")


class ChatCompletionChunkChoice(BaseModel):
    """The part of a chunk that belongs to one of the `n` answers."""

    index: int = Field(description="Which of the answers this belongs to, from 0.")
    delta: ChatCompletionDelta = Field(description="What to append.")
    finish_reason: ChatFinishReason | None = Field(description=FINISH + " Null until then.")
    logprobs: ChatLogprobs | None = Field(default=None, description="Of the tokens in this chunk.")


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
    obfuscation: str | None = Field(
        default=None, description="With `include_obfuscation`: padding of random letters, to be ignored."
    )
