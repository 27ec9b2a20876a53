"""Which extra fields a request may use here, and what they come to for its prompt. Does not import vLLM."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from engine.config import EngineConfig
from engine.validation import MAX_WHOLE_LOGPROBS
from protocol.errors import Fault, TwowireError
from protocol.extras import NO_EXTRAS, Extras


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


def check_prompt_logprobs(extras: Extras, prompt_tokens: int) -> None:
    """Raise `TwowireError` (400) where the report of all prompts would be too large."""
    if extras.prompt_logprobs is None:
        return
    candidates = prompt_tokens * (extras.prompt_logprobs + 1)
    if candidates > MAX_WHOLE_LOGPROBS:
        message = f"prompt_logprobs asks for {candidates} log probabilities; at most {MAX_WHOLE_LOGPROBS} are reported."
        raise TwowireError(Fault.INVALID_VALUE, message, param="prompt_logprobs")
