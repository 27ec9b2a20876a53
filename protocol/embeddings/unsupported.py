"""Embedding and rerank fields that are known but not honoured."""

from __future__ import annotations

from collections.abc import Mapping

from protocol.validation.unsupported_fields import (
    ACCEPTED,
    REFUSED,
    UNTRUSTED,
    FieldRule,
    only,
)

# https://platform.openai.com/docs/api-reference/embeddings/create, and what vLLM adds to it.
_POOLING_FIELDS: dict[str, FieldRule] = {
    "priority": ACCEPTED,
    "request_id": ACCEPTED,
    "padding": ACCEPTED,
    "cache_salt": REFUSED,
    "truncate_prompt_tokens": REFUSED,
    "truncation_side": only("right"),
    "add_special_tokens": only(True),
    "mm_processor_kwargs": only({}),
    "chat_template": UNTRUSTED,
    "chat_template_kwargs": only({}),
    "prompt_embeds": REFUSED,
    "use_activation": REFUSED,
}

EMBEDDING_FIELDS: Mapping[str, FieldRule] = {
    "messages": REFUSED,
    "media_io_kwargs": only({}),
    "embed_dtype": only("float32"),
    "endianness": only("native", "little"),
    **_POOLING_FIELDS,
}

# https://docs.cohere.com/reference/rerank and https://api.jina.ai/docs, and what vLLM adds to them.
RERANK_FIELDS: Mapping[str, FieldRule] = {
    "max_tokens_per_doc": REFUSED,
    "max_tokens_per_query": REFUSED,
    "max_chunks_per_doc": REFUSED,
    "rank_fields": only(["text"]),
    "instruction": REFUSED,
    **_POOLING_FIELDS,
}
