"""What the response schemas of several APIs share. They serve the OpenAPI document alone: see `protocol.encoder`."""

from __future__ import annotations

from pydantic import BaseModel, Field

CREATED = "When the answer was begun, in seconds since 1970 (UTC)."
MODEL = "The name of the model that answered, as the request gave it."
USAGE = "The tokens of the whole request."
FINISH = (
    "Why the choice ended: `stop` at its natural end or a stop string, `length` at the limit of tokens, `tool_calls` "
    "(`function_call` where `functions` was sent) if it ends with calls that the model chose to make."
)


class PromptTokensDetails(BaseModel):
    """Where the prompt's tokens came from."""

    cached_tokens: int = Field(description="Prompt tokens taken from the prefix cache.")
    image_tokens: int | None = Field(default=None, description="Prompt tokens that were images; present if there are.")
    audio_tokens: int | None = Field(default=None, description="Prompt tokens that were sound; present if there are.")


class CompletionTokensDetails(BaseModel):
    """What the completion's tokens were."""

    reasoning_tokens: int = Field(description="Tokens of thoughts.")


class CompletionUsage(BaseModel):
    """Tokens counted for one request, all its choices together."""

    prompt_tokens: int = Field(description="Tokens of the prompt.")
    completion_tokens: int = Field(description="Tokens generated.")
    total_tokens: int = Field(description="Both together.")
    prompt_tokens_details: PromptTokensDetails | None = Field(default=None, description="Breakdown of the prompt.")
    completion_tokens_details: CompletionTokensDetails | None = Field(
        default=None, description="Breakdown of the completion; absent unless the model thought."
    )


class PromptLogprob(BaseModel):
    """A candidate for a token of the prompt."""

    logprob: float = Field(description="Its natural-log probability; -9999 for next to none.")
    rank: int | None = Field(description="Its place among all candidates, from 1.")
    decoded_token: str | None = Field(description="Its text.")


PROMPT_LOGPROBS = "With `prompt_logprobs`: the candidates for each token of the prompt, by id; null for the first."
PROMPT_IDS = "With `return_token_ids`: the ids of the prompt's tokens; in a stream, once, in one of the first chunks."
TOKEN_IDS = "With `return_token_ids`: the ids of the tokens."
KV_TRANSFER = "Where another engine finds the KV cache, if the request had `kv_transfer_params`."


class Error(BaseModel):
    """An error. All four members are always present."""

    message: str = Field(description="What went wrong, and what to change.")
    type: str = Field(
        description="`invalid_request_error` if the request must change; `server_error` and others if not."
    )
    param: str | None = Field(description="The field at fault, for example `messages[0].content`.")
    code: str | None = Field(description="The error's stable name, for programs.")


class ErrorResponse(BaseModel):
    """The response to a failed request, and the event of a failed stream."""

    error: Error = Field(description="The error.")
