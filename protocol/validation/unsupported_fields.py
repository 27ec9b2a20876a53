"""Rules for fields that OpenAI or vLLM know and this server does not honour; each API has its own table of them.

A field is refused when honouring it would have changed the answer (or, for `cache_salt`, who may learn of
it), and accepted when it would not. `null` is always accepted. A name that stands here never counts as
unknown.
"""

from __future__ import annotations

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


ACCEPTED = FieldRule(accepts_all=True)
REFUSED = FieldRule()
UNTRUSTED = FieldRule(
    fault=Fault.CHAT_TEMPLATE_REFUSED,
    predicate="is refused: a template in a request is not trusted, the server uses its own; remove it.",
)

UNTRUSTED_ARGUMENT = FieldRule(
    accepted=([],),
    fault=Fault.CHAT_TEMPLATE_REFUSED,
    predicate="is refused: a chat template is handed nothing but the messages; put the text there.",
)


def only(*accepted: Any) -> FieldRule:
    return FieldRule(accepted=accepted)


_NO_BEAMS = "is not supported: the engine has no beam search; ask for several answers with n. Remove it."


# vLLM's extras, from the request models of its 0.32, and its older `guided_*`.
VLLM_FIELDS: dict[str, FieldRule] = {
    # Labels and the pace of chunks: the answer stays the same.
    "request_id": ACCEPTED,
    "session_id": ACCEPTED,
    "stream_interval": ACCEPTED,
    # Decoding.
    "use_beam_search": FieldRule(accepted=(False,), predicate=_NO_BEAMS),
    "length_penalty": FieldRule(accepted=(1,), predicate=_NO_BEAMS),
    "logits_processors": only([]),
    "repetition_detection": REFUSED,
    "watermarking": only(False),
    # Constrained output.
    "guided_decoding_backend": ACCEPTED,
    "guided_whitespace_pattern": FieldRule(
        predicate="cannot be followed: the white space of JSON is fixed; remove it."
    ),
    "structural_tag": FieldRule(predicate="is an old name; send structured_outputs.structural_tag."),
    # How the prompt is made.
    "mm_payload": ACCEPTED,
    # What the answer shows.
    "spaces_between_special_tokens": only(True),
    "return_token_offsets": only(False),
    "return_prompt_text": only(False),
    "return_mm_kwargs": only(False),
    "routed_experts_prompt_start": only(0),
    # The transfer of encoder caches between engines.
    "ec_transfer_params": only({}),
}
"""Not honoured on any route."""

# `protocol.vllm.fields` honours these for chats and completions.
VLLM_EXTRAS: dict[str, FieldRule] = {
    "guided_json": REFUSED,
    "guided_regex": REFUSED,
    "guided_choice": REFUSED,
    "guided_grammar": REFUSED,
    "guided_json_object": only(False),
    "truncate_prompt_tokens": REFUSED,
    "truncation_side": ACCEPTED,
    "prompt_logprobs": REFUSED,
    "logprob_token_ids": only([]),
    "return_token_ids": only(False),
    "return_tokens_as_token_ids": only(False),
    "kv_transfer_params": only({}),
}
"""Not honoured elsewhere."""
