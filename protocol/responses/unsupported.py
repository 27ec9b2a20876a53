"""Fields of responses that are known but not honoured."""

from __future__ import annotations

from collections.abc import Mapping

from protocol.validation.unsupported_fields import ACCEPTED, REFUSED, VLLM_FIELDS, FieldRule, only

# https://platform.openai.com/docs/api-reference/responses/create
RESPONSES_FIELDS: Mapping[str, FieldRule] = {
    "prompt": REFUSED,
    "moderation": REFUSED,
    "context_management": REFUSED,
    "service_tier": ACCEPTED,
    "prompt_cache_options": ACCEPTED,
    "prompt_cache_retention": ACCEPTED,
    # Fields of the other routes.
    "n": only(1),
    "messages": REFUSED,
    "response_format": REFUSED,
    "max_tokens": REFUSED,
    "max_completion_tokens": REFUSED,
    **VLLM_FIELDS,
}
