"""Response fields that are known but not honoured."""

from __future__ import annotations

from collections.abc import Mapping

from protocol.validation.unsupported_fields import (
    ACCEPTED,
    REFUSED,
    UNTRUSTED,
    UNTRUSTED_ARGUMENT,
    VLLM_FIELDS,
    FieldRule,
    only,
)

# https://platform.openai.com/docs/api-reference/responses/create
RESPONSES_FIELDS: Mapping[str, FieldRule] = {
    "prompt": REFUSED,
    "moderation": REFUSED,
    "context_management": REFUSED,
    "service_tier": ACCEPTED,
    "prompt_cache_options": ACCEPTED,
    "prompt_cache_retention": ACCEPTED,
    "image": REFUSED,
    "background_options": ACCEPTED,
    "verbosity": only("medium"),
    # Fields of the other routes.
    "n": only(1),
    "logprobs": only(False),
    "modalities": only(["text"]),
    "functions": REFUSED,
    "function_call": REFUSED,
    "reasoning_effort": REFUSED,
    "continue_final_message": only(False),
    "messages": REFUSED,
    "response_format": REFUSED,
    "max_tokens": REFUSED,
    "max_completion_tokens": REFUSED,
    # vLLM's.
    "chat_template": UNTRUSTED,
    "documents": UNTRUSTED_ARGUMENT,
    "chat_template_kwargs": only({}),
    "include_reasoning": only(True),
    "enable_response_messages": only(False),
    "previous_input_messages": REFUSED,
    "media_io_kwargs": only({}),
    "mm_processor_kwargs": only({}),
    "prompt_embeds": REFUSED,
    "thinking_token_budget": only(-1),
    **VLLM_FIELDS,
}
