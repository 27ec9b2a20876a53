"""Checks of a request that depend on the model and the server: template arguments, token ids, log probabilities."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from protocol.errors import Fault, TwowireError
from protocol.generation import ChatPrompt, GenerationRequest
from protocol.images import images_of
from protocol.sounds import sounds_of

MAX_WHOLE_LOGPROBS = 2_000_000
"""Candidates in an answer that is not streamed, which is held in memory until its end: some 500 MB."""


def check_modalities(request: GenerationRequest, modalities: Collection[str]) -> None:
    """Raise `TwowireError` if the request holds what the model does not take."""
    prompt = request.prompt
    if not isinstance(prompt, ChatPrompt) or not prompt.has_media:
        return
    images, sounds = images_of(prompt.messages), sounds_of(prompt.messages)
    for modality, name, found in (("image", "images", images), ("audio", "sound", sounds)):
        if found and modality not in modalities:
            param = found[0].param
            message = f"{param}: this model takes no {name}, only {', '.join(modalities)}."
            raise TwowireError(Fault.UNSUPPORTED_CONTENT, message, param=param)


def allowed_template_kwargs(prompt: ChatPrompt, allowed: Collection[str]) -> dict[str, Any]:
    """The chat template's arguments that the request sets. Raises `TwowireError` if it may not set one."""
    for name in prompt.template_kwargs:
        if name not in allowed:
            raise TwowireError(
                Fault.CHAT_TEMPLATE_REFUSED,
                f"chat_template_kwargs may not set {name[:60]!r} here (allowed: {', '.join(allowed) or 'none'}).",
                param="chat_template_kwargs",
            )
    return dict(prompt.template_kwargs)


def check_token_ids(prompts: Iterable[str | list[int]], vocabulary_size: int, param: str) -> None:
    """Raise `TwowireError` for a token id that the model does not have; `param` is the prompts' field."""
    for prompt in prompts:
        if not isinstance(prompt, str) and max(prompt) >= vocabulary_size:
            raise TwowireError(
                Fault.INVALID_VALUE,
                f"{param} holds the token id {max(prompt)}; the vocabulary has {vocabulary_size} tokens.",
                param=param,
            )


def check_logprobs(request: GenerationRequest, answer_tokens: int) -> None:
    """Raise `TwowireError` if an unstreamed answer of `answer_tokens` could hold too many log probabilities."""
    top = request.sampling.logprobs
    if top is None or request.is_streamed:
        return
    candidates = answer_tokens * (top + 1)
    if candidates > MAX_WHOLE_LOGPROBS:
        raise TwowireError(
            Fault.INVALID_VALUE,
            f"The answer may have {candidates} log probabilities; at most {MAX_WHOLE_LOGPROBS} may come in one piece."
            " Ask for fewer, or for a stream.",
            param=request.fields.logprobs,
        )
