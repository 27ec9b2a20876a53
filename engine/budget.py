"""How many tokens an answer may have, given its prompt and the model's context.

Does not know how a prompt was tokenised.
"""

from __future__ import annotations

from protocol.chat import ChatCompletionRequest
from protocol.completion import CompletionRequest
from protocol.errors import Fault, TwowireError


def output_budget(
    request: ChatCompletionRequest | CompletionRequest,
    prompt_tokens: int,
    max_model_len: int,
    default_limit: int | None,
    prompt_field: str,
) -> int:
    """The most tokens to generate, at least 1: what was asked for, cut to what the context leaves.

    A limit that the context could never hold is refused; one that only this prompt leaves no room for is cut, as
    vLLM's and OpenAI's servers do, and the answer then ends with `length`. `default_limit` is the model's own.
    Raises `TwowireError` (400).
    """
    room = max_model_len - prompt_tokens
    limit = request.output_token_limit
    if room < 1:
        raise TwowireError(
            Fault.CONTEXT_LENGTH_EXCEEDED,
            f"The model's context is {max_model_len} tokens; the prompt takes {prompt_tokens} and leaves no room for"
            " an answer.",
            param=prompt_field,
        )
    if limit is not None and limit > max_model_len:
        is_new_field = getattr(request, "max_completion_tokens", None) is not None
        raise TwowireError(
            Fault.CONTEXT_LENGTH_EXCEEDED,
            f"The model's context is {max_model_len} tokens, prompt and answer together; {limit} were asked for.",
            param="max_completion_tokens" if is_new_field else "max_tokens",
        )
    if limit is None:
        limit = default_limit
    # An engine must generate at least one token; the answer to max_tokens=0 drops it.
    budget = room if limit is None else min(room, max(limit, 1))
    if request.min_tokens is not None and request.min_tokens > budget:
        raise TwowireError(
            Fault.INVALID_VALUE,
            f"min_tokens is {request.min_tokens}; at most {budget} tokens fit.",
            param="min_tokens",
        )
    return budget
