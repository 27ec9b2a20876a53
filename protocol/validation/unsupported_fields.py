"""Fields that OpenAI or vLLM know and this server does not honour: one table per route.

A field is refused when honouring it would have changed the answer (or, for `cache_salt`, who may learn of
it), and accepted when it would not. `null` is always accepted. A name that stands here never counts as
unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protocol.errors import Fault, TwowireError


@dataclass(frozen=True, slots=True)
class FieldRule:
    """Which values of a field change nothing, and what to say about all others."""

    accepts_all: bool = False
    accepted: tuple[Any, ...] = ()
    fault: Fault = Fault.UNSUPPORTED_FIELD
    predicate: str = "is not supported by this server yet; remove it."

    def allows(self, value: object) -> bool:
        """Whether `value` would leave the answer as it is."""
        return self.accepts_all or any(_is_same(value, one) for one in self.accepted)


def _is_same(value: object, one: object) -> bool:
    # The type is compared too: to Python, true equals 1. To JSON, 1 and 1.0 are the same number.
    numbers = (int, float)
    return value == one and (type(value) is type(one) or (type(value) in numbers and type(one) in numbers))


def check_field(name: str, value: object, rule: FieldRule) -> None:
    """Raises `TwowireError` with the rule's fault, naming the field, unless the rule allows `value`."""
    if rule.allows(value):
        return
    besides = " or ".join(_json_word(one) for one in rule.accepted if one not in ([], {}, ""))
    subject = f"{name} other than {besides}" if besides else name
    raise TwowireError(rule.fault, f"{subject} {rule.predicate}", param=name)


def _json_word(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "[" + ", ".join(map(_json_word, value)) + "]" if isinstance(value, list) else repr(value)


_ACCEPTED = FieldRule(accepts_all=True)
_REFUSED = FieldRule()
_UNTRUSTED = FieldRule(
    fault=Fault.CHAT_TEMPLATE_REFUSED,
    predicate="is refused: a template in a request is not trusted, the server uses its own; remove it.",
)

_UNTRUSTED_ARGUMENT = FieldRule(
    accepted=([],),
    fault=Fault.CHAT_TEMPLATE_REFUSED,
    predicate="is refused: a chat template is handed nothing but the messages; put the text there.",
)


def _only(*accepted: Any) -> FieldRule:
    return FieldRule(accepted=accepted)


# vLLM's extras, from the request models of its 0.32, and its older `guided_*`.
_VLLM_FIELDS: dict[str, FieldRule] = {
    # Scheduling and labels: the answer stays the same.
    "priority": _ACCEPTED,
    "request_id": _ACCEPTED,
    "session_id": _ACCEPTED,
    "stream_interval": _ACCEPTED,
    # Refused although the text would be the same: who sends a salt relies on its cache being private.
    "cache_salt": _REFUSED,
    # Decoding.
    "use_beam_search": _only(False),
    "length_penalty": _only(1),
    "logits_processors": _only([]),
    "repetition_detection": _REFUSED,
    "thinking_token_budget": _only(-1),
    "vllm_xargs": _only({}),
    "watermarking": _only(False),
    # Constrained output.
    "structured_outputs": _REFUSED,
    "guided_json": _REFUSED,
    "guided_regex": _REFUSED,
    "guided_choice": _REFUSED,
    "guided_grammar": _REFUSED,
    "guided_json_object": _only(False),
    "guided_decoding_backend": _ACCEPTED,
    "guided_whitespace_pattern": _REFUSED,
    "structural_tag": _REFUSED,
    # How the prompt is made.
    "truncate_prompt_tokens": _REFUSED,
    "truncation_side": _ACCEPTED,
    "mm_payload": _ACCEPTED,
    # What the answer shows.
    "include_stop_str_in_output": _only(False),
    "spaces_between_special_tokens": _only(True),
    "prompt_logprobs": _REFUSED,
    "logprob_token_ids": _only([]),
    "return_token_ids": _only(False),
    "return_tokens_as_token_ids": _only(False),
    "return_token_offsets": _only(False),
    "return_prompt_text": _only(False),
    "return_mm_kwargs": _only(False),
    "routed_experts_prompt_start": _only(0),
    # The transfer of a KV cache between engines.
    "kv_transfer_params": _only({}),
    "ec_transfer_params": _only({}),
}

# https://platform.openai.com/docs/api-reference/chat/create
CHAT_FIELDS: Mapping[str, FieldRule] = {
    "tools": _only([]),
    "tool_choice": _only("none", "auto"),
    "parallel_tool_calls": _ACCEPTED,
    "functions": _only([]),
    "function_call": _only("none", "auto"),
    "modalities": _only(["text"]),
    "audio": _REFUSED,
    "prediction": _ACCEPTED,
    "store": _only(False),
    "reasoning_effort": _only("none"),
    "verbosity": _only("medium"),
    "web_search_options": _REFUSED,
    "moderation": _REFUSED,
    "service_tier": _ACCEPTED,
    "prompt_cache_key": _ACCEPTED,
    "prompt_cache_options": _ACCEPTED,
    "prompt_cache_retention": _ACCEPTED,
    "safety_identifier": _ACCEPTED,
    # Fields of the other route.
    "best_of": _only(1),
    "suffix": _REFUSED,
    "echo": _only(False),
    # vLLM's.
    "chat_template": _UNTRUSTED,
    "documents": _UNTRUSTED_ARGUMENT,
    "add_special_tokens": _only(False),
    "include_reasoning": _ACCEPTED,
    "media_io_kwargs": _only({}),
    "mm_processor_kwargs": _only({}),
    "prompt_embeds": _REFUSED,
    **_VLLM_FIELDS,
}

# https://platform.openai.com/docs/api-reference/completions/create
COMPLETION_FIELDS: Mapping[str, FieldRule] = {
    "prompt_embeds": _REFUSED,
    "max_completion_tokens": _REFUSED,
    "top_logprobs": _only(0),
    "add_special_tokens": _only(True),
    "tools": _only([]),
    "store": _only(False),
    "service_tier": _ACCEPTED,
    "prompt_cache_key": _ACCEPTED,
    "safety_identifier": _ACCEPTED,
    "chat_template": _UNTRUSTED,
    "documents": _UNTRUSTED_ARGUMENT,
    **_VLLM_FIELDS,
}

# https://platform.openai.com/docs/api-reference/embeddings/create, and what vLLM adds to it.
_POOLING_FIELDS: dict[str, FieldRule] = {
    "priority": _ACCEPTED,
    "request_id": _ACCEPTED,
    "padding": _ACCEPTED,
    "cache_salt": _REFUSED,
    "truncate_prompt_tokens": _REFUSED,
    "truncation_side": _only("right"),
    "add_special_tokens": _only(True),
    "mm_processor_kwargs": _only({}),
    "chat_template": _UNTRUSTED,
    "chat_template_kwargs": _only({}),
    "prompt_embeds": _REFUSED,
    "use_activation": _REFUSED,
}

EMBEDDING_FIELDS: Mapping[str, FieldRule] = {
    "messages": _REFUSED,
    "media_io_kwargs": _only({}),
    "embed_dtype": _only("float32"),
    "endianness": _only("native", "little"),
    **_POOLING_FIELDS,
}

# https://docs.cohere.com/reference/rerank and https://api.jina.ai/docs, and what vLLM adds to them.
RERANK_FIELDS: Mapping[str, FieldRule] = {
    "max_tokens_per_doc": _REFUSED,
    "max_tokens_per_query": _REFUSED,
    "max_chunks_per_doc": _REFUSED,
    "rank_fields": _only(["text"]),
    "instruction": _REFUSED,
    **_POOLING_FIELDS,
}
