"""Chat fields that are known but not honoured."""

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

# https://platform.openai.com/docs/api-reference/chat/create
CHAT_FIELDS: Mapping[str, FieldRule] = {
    "modalities": only(["text"]),
    "audio": REFUSED,
    "prediction": ACCEPTED,
    "store": only(False),
    "verbosity": ACCEPTED,
    "web_search_options": REFUSED,
    "moderation": REFUSED,
    "service_tier": ACCEPTED,
    "prompt_cache_key": ACCEPTED,
    "prompt_cache_options": ACCEPTED,
    "prompt_cache_retention": ACCEPTED,
    "safety_identifier": ACCEPTED,
    # Fields of the other route.
    "best_of": only(1),
    "suffix": REFUSED,
    # vLLM's.
    "chat_template": UNTRUSTED,
    "documents": UNTRUSTED_ARGUMENT,
    "media_io_kwargs": only({}),
    "mm_processor_kwargs": only({}),
    "prompt_embeds": REFUSED,
    **VLLM_FIELDS,
}
