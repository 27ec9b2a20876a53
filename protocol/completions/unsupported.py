"""Completion fields that are known but not honoured."""

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

# https://platform.openai.com/docs/api-reference/completions/create
COMPLETION_FIELDS: Mapping[str, FieldRule] = {
    "prompt_embeds": REFUSED,
    "max_completion_tokens": REFUSED,
    "top_logprobs": only(0),
    "tools": only([]),
    "store": only(False),
    "service_tier": ACCEPTED,
    "prompt_cache_key": ACCEPTED,
    "safety_identifier": ACCEPTED,
    "chat_template": UNTRUSTED,
    "documents": UNTRUSTED_ARGUMENT,
    "thinking_token_budget": only(-1),
    **VLLM_FIELDS,
}
