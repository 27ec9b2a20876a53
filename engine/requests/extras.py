"""Which extra fields a request may use here, and what they come to for its prompt. Does not import vLLM."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from engine.config import EngineConfig
from protocol.errors import Fault, TwowireError
from protocol.extras import NO_EXTRAS, Extras
from protocol.generation import GenerationRequest, TextPrompt

MAX_PROMPT_CANDIDATES = 50_000
"""Candidates reported for the tokens of a request's prompts, in all choices. They are decoded in the event loop in one
piece: so many take a quarter of a second."""


@dataclass(frozen=True, slots=True)
class ExtraLimits:
    """What the operator allows."""

    has_priorities: bool = False
    """The engine schedules by priority."""
    min_priority: int = 0
    """The most urgent priority that a request may ask for; lower runs earlier."""
    xargs: Collection[str] = ()
    """Names that `vllm_xargs` may set."""
    kv_transfer: bool = False
    """`kv_transfer_params` reach the engine."""


def extra_limits(config: EngineConfig) -> ExtraLimits:
    """What a configuration allows."""
    return ExtraLimits(
        config.scheduling_policy == "priority",
        config.min_priority,
        config.allowed_xargs,
        config.allow_kv_transfer_params,
    )


def check_extras(extras: Extras, limits: ExtraLimits, max_model_len: int) -> None:
    """Raise `TwowireError` (400) for what this server does not allow."""
    if extras is NO_EXTRAS:
        return
    if extras.priority and not limits.has_priorities:
        message = "priority needs a server that was started with --scheduling-policy priority; remove it."
        raise TwowireError(Fault.UNSUPPORTED_FIELD, message, param="priority")
    if extras.priority < limits.min_priority:
        message = f"priority must be at least {limits.min_priority} here, got {extras.priority}."
        raise TwowireError(Fault.INVALID_VALUE, message, param="priority")
    for name in extras.xargs or ():
        if name not in limits.xargs:
            allowed = ", ".join(limits.xargs) or "none"
            message = f"vllm_xargs may not set {name[:60]!r} here (allowed: {allowed})."
            raise TwowireError(Fault.UNSUPPORTED_FIELD, message, param="vllm_xargs")
    if extras.kv_transfer_params is not None and not limits.kv_transfer:
        message = "kv_transfer_params needs a server that was started with --allow-kv-transfer-params; remove it."
        raise TwowireError(Fault.UNSUPPORTED_FIELD, message, param="kv_transfer_params")
    kept = extras.truncate_prompt_tokens
    if kept is not None and kept >= max_model_len:
        message = f"truncate_prompt_tokens must be less than the model's context of {max_model_len} tokens, got {kept}."
        raise TwowireError(Fault.INVALID_VALUE, message, param="truncate_prompt_tokens")


def check_prompt_logprobs(request: GenerationRequest, prompt_tokens: int) -> None:
    """Raise `TwowireError` (400) where the report of all prompts would be too large: each choice repeats it.

    A prompt that is echoed is reported like the answer. `prompt_tokens` counts each prompt once.
    """
    prompt, asked = request.prompt, request.extras.prompt_logprobs
    echoed = request.sampling.logprobs if isinstance(prompt, TextPrompt) and prompt.echo else None
    if asked is None and echoed is None:
        return
    wanted = max(asked or 0, echoed or 0)
    candidates = prompt_tokens * request.n * (wanted + 1)
    if candidates > MAX_PROMPT_CANDIDATES:
        param = "prompt_logprobs" if asked == wanted else request.fields.logprobs
        message = (
            f"{param} asks for {candidates} log probabilities of the prompt: {wanted + 1} for each of {prompt_tokens} "
            f"tokens, in {request.n} choices; at most {MAX_PROMPT_CANDIDATES} are reported."
        )
        raise TwowireError(Fault.INVALID_VALUE, message, param=param)
