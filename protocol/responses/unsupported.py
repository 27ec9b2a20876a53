"""Response fields that are known but not honoured."""

from __future__ import annotations

from collections.abc import Mapping

from protocol.validation.unsupported_fields import (
    ACCEPTED,
    REFUSED,
    UNTRUSTED,
    UNTRUSTED_ARGUMENT,
    VLLM_EXTRAS,
    VLLM_FIELDS,
    FieldRule,
    only,
)


def _chats(here: str) -> FieldRule:
    return FieldRule(predicate=f"is a field of chat completions; send {here} instead.")


# https://platform.openai.com/docs/api-reference/responses/create
RESPONSES_FIELDS: Mapping[str, FieldRule] = {
    "prompt": REFUSED,
    "moderation": REFUSED,
    "context_management": only([]),
    "service_tier": ACCEPTED,
    "prompt_cache_options": ACCEPTED,
    "prompt_cache_retention": ACCEPTED,
    "image": REFUSED,
    "background_options": ACCEPTED,
    "verbosity": _chats("text.verbosity"),
    # Fields of the other routes.
    "n": only(1),
    "logprobs": only(False),
    "modalities": only(["text"]),
    "functions": _chats("tools"),
    "function_call": _chats("tool_choice"),
    "reasoning_effort": _chats("reasoning.effort"),
    "continue_final_message": only(False),
    "messages": _chats("input"),
    "response_format": _chats("text.format"),
    "max_tokens": _chats("max_output_tokens"),
    "max_completion_tokens": _chats("max_output_tokens"),
    # vLLM's.
    "chat_template": UNTRUSTED,
    "documents": UNTRUSTED_ARGUMENT,
    "include_reasoning": only(True),
    "enable_response_messages": only(False),
    "previous_input_messages": REFUSED,
    "media_io_kwargs": only({}),
    "mm_processor_kwargs": only({}),
    "prompt_embeds": REFUSED,
    "thinking_token_budget": only(-1),
    **VLLM_FIELDS,
    **VLLM_EXTRAS,
}
