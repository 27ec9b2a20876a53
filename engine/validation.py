"""What a request may ask of a model, beyond what its own fields can say: template arguments, token ids, suffixes.

Does not know how a prompt is rendered.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from protocol.chat.request import ChatCompletionRequest
from protocol.completions.request import CompletionRequest
from protocol.errors import Fault, TwowireError

SCHEMA_FIELD = "response_format.json_schema.schema"
"""What is at fault where the engine cannot make a grammar of a schema."""

MAX_WHOLE_LOGPROBS = 2_000_000
"""Candidates in an answer that is not streamed, which is held in memory until it is done: some 500 MB of it."""


def allowed_template_kwargs(request: ChatCompletionRequest, allowed: Collection[str]) -> dict[str, Any]:
    """The chat template's arguments that the request sets. Raises `TwowireError` where it may not set one."""
    kwargs = request.chat_template_kwargs or {}
    for name in kwargs:
        if name not in allowed:
            raise TwowireError(
                Fault.CHAT_TEMPLATE_REFUSED,
                f"chat_template_kwargs may not set {name[:60]!r} here (allowed: {', '.join(allowed) or 'none'}).",
                param="chat_template_kwargs",
            )
    return dict(kwargs)


def check_completion(request: CompletionRequest, vocabulary_size: int) -> None:
    """Raise `TwowireError` for a suffix, or for a token id that the model does not have."""
    if request.suffix:
        raise TwowireError(
            Fault.UNSUPPORTED_FIELD, "The model cannot fill in text before a suffix; remove it.", param="suffix"
        )
    for prompt in request.prompts:
        if not isinstance(prompt, str) and max(prompt) >= vocabulary_size:
            raise TwowireError(
                Fault.INVALID_VALUE,
                f"prompt holds the token id {max(prompt)}; the vocabulary has {vocabulary_size} tokens.",
                param="prompt",
            )


def check_logprobs(request: ChatCompletionRequest | CompletionRequest, answer_tokens: int) -> None:
    """Raise `TwowireError` where a whole answer of up to `answer_tokens` would hold too many log probabilities."""
    top = request.top_logprob_count
    if top is None or request.stream:
        return
    candidates = answer_tokens * (top + 1)
    if candidates > MAX_WHOLE_LOGPROBS:
        raise TwowireError(
            Fault.INVALID_VALUE,
            f"The answer may hold {candidates} log probabilities; at most {MAX_WHOLE_LOGPROBS} may come in one piece."
            " Ask for fewer, or for a stream.",
            param="top_logprobs" if isinstance(request, ChatCompletionRequest) else "logprobs",
        )
