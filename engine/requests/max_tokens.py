"""Computes how many tokens an answer may have."""

from __future__ import annotations

from protocol.errors import Fault, TwowireError
from protocol.generation import Sampling


def max_tokens_for(
    sampling: Sampling,
    prompt_tokens: int,
    max_model_len: int,
    default_limit: int | None,
    prompt_field: str,
) -> int:
    """The maximum number of tokens to generate, at least 1: the request's limit, cut to what the context leaves.

    Editors and agents send a fixed limit whatever the model's context, so it is cut, not refused; an answer that
    reaches it ends with `length`. `default_limit` is the model's. Raises `TwowireError` (400).
    """
    room = max_model_len - prompt_tokens
    limit = sampling.max_tokens
    if room < 1:
        raise TwowireError(
            Fault.CONTEXT_LENGTH_EXCEEDED,
            f"The model's context is {max_model_len} tokens; the prompt takes {prompt_tokens} and leaves no room for"
            " an answer.",
            param=prompt_field,
        )
    if limit is None:
        limit = default_limit
    # An engine must generate at least one token; the answer to max_tokens=0 drops it.
    max_tokens = room if limit is None else min(room, max(limit, 1))
    if sampling.min_tokens is not None and sampling.min_tokens > max_tokens:
        raise TwowireError(
            Fault.INVALID_VALUE,
            f"min_tokens is {sampling.min_tokens}; at most {max_tokens} tokens fit.",
            param="min_tokens",
        )
    return max_tokens
