"""The responses of `/v1/completions`, as models for the OpenAPI document.

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

CompletionFinishReason = Literal["stop", "length", "content_filter"]


class CompletionLogprobs(BaseModel):
    """Log probabilities of a completion: four lists of equal length, one entry for each token."""

    tokens: list[str] = Field(description="The tokens' texts.")
    token_logprobs: list[float | None] = Field(
        description="Natural-log probabilities; null only for the first token of an echoed prompt."
    )
    top_logprobs: list[dict[str, float] | None] = Field(description="The candidates for each position.")
    text_offset: list[int] = Field(description="Where each token begins in the text, in characters.")


class CompletionChoice(BaseModel):
    """One answer to one prompt, or what a chunk adds to it."""

    index: int = Field(description="Prompt's position times `n`, plus the answer's, both from 0.")
    text: str = Field(description="The text of the answer; in a chunk, the text to append.")
    finish_reason: CompletionFinishReason | None = Field(description=FINISH + " Null before the last chunk.")
    logprobs: CompletionLogprobs | None = Field(description="Log probabilities, if `logprobs` asked for them.")
    token_ids: list[int] | None = Field(default=None, description=TOKEN_IDS)
    prompt_logprobs: list[dict[str, PromptLogprob] | None] | None = Field(default=None, description=PROMPT_LOGPROBS)
    prompt_token_ids: list[int] | None = Field(default=None, description=PROMPT_IDS)


class Completion(BaseModel):
    """A whole completion, or a chunk of a streamed one (OpenAI's `CreateCompletionResponse`)."""

    id: str = Field(description="The answer's id, `cmpl-…`.")
    object: Literal["text_completion"] = Field(description="Always `text_completion`.")
    created: int = Field(description=CREATED)
    model: str = Field(description=MODEL)
    choices: list[CompletionChoice] = Field(description="`n` answers to each prompt, in the prompts' order.")
    usage: CompletionUsage | None = Field(default=None, description=USAGE)
    kv_transfer_params: dict[str, Any] | None = Field(default=None, description=KV_TRANSFER)
