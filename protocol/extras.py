"""What requests to generate may ask of the engine beyond OpenAI's fields. Names and meanings are vLLM's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Extras:
    """Extra wishes of one request; the defaults ask for nothing."""

    cache_salt: str | None = None
    """Only requests with the same salt share the KV cache of their prompts."""
    priority: int = 0
    """Lower runs earlier."""
    truncate_prompt_tokens: int | None = None
    """Keep so many tokens of each prompt; -1 for as many as leave room for one token of output."""
    truncation_side: Literal["left", "right"] = "left"
    """Where tokens are dropped."""
    add_special_tokens: bool | None = None
    """Put the tokenizer's special tokens around the prompt; None for the API's own default."""
    prompt_logprobs: int | None = None
    """How many candidates to report for each token of the prompt."""
    return_token_ids: bool = False
    """Report the ids of the prompt's and the answer's tokens."""
    tokens_as_ids: bool = False
    """Write tokens as `token_id:…` in log probabilities."""
    xargs: Mapping[str, Any] | None = None
    """Arguments for the operator's own logits processors."""
    kv_transfer_params: Mapping[str, Any] | None = None
    """Where KV cache is to be fetched from, or left for another engine."""


NO_EXTRAS = Extras()
