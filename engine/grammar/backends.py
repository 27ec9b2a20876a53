"""Compiles a constraint as vLLM's engine would, with the same library, options and tokenizer.

Runs in the worker, which does not import vLLM, because that would take ten seconds and half a gigabyte:
`tests/live/real/engine/test_grammar.py` compares what is compiled here with what vLLM 0.32 compiles.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from engine.grammar.constraint import BackendSpec, Kind


class RefusedError(Exception):
    """The backend refuses the constraint; the message says why."""


MAX_STEP_ITEMS = 2000
"""What a parser may hold for one token. An ambiguous grammar needs more with each, and one core computes all answers:
with so many, a token takes a few milliseconds, with llguidance's own 50,000 a second. It also limits a row to 2000."""

Compile = Callable[[Kind, str], None]
"""Compiles a constraint and computes its first token mask. Raises `RefusedError` or the library's errors."""


def compile_with(spec: BackendSpec) -> Compile:
    """Load the backend's library and the tokenizer, once."""
    return BACKENDS[spec.name](spec)


def parser_limits() -> Any:
    """llguidance's limits, for the worker and for the engine: what goes beyond them ends with an error."""
    import llguidance

    return llguidance.LLParserLimits(step_max_items=MAX_STEP_ITEMS)


def _guidance(spec: BackendSpec) -> Compile:
    import llguidance

    tokenizer = llguidance.LLTokenizer(spec.tokenizer, n_vocab=spec.vocab_size, eos_token=spec.eos_token_id)

    def compile_(kind: Kind, text: str) -> None:
        try:
            source = guidance_source(kind, text, any_whitespace=spec.any_whitespace)
        except (ValueError, KeyError, TypeError) as error:
            raise RefusedError(str(error)) from error
        matcher = llguidance.LLMatcher(tokenizer, source, log_level=0, limits=parser_limits())
        if not matcher.is_error():
            matcher.compute_bitmask()
        if message := matcher.get_error():
            raise RefusedError(message)

    # What the library builds at its first use is built here once, not in each child.
    compile_("json", '{"type": "object"}')
    return compile_


BACKENDS: dict[str, Callable[[BackendSpec], Compile]] = {"guidance": _guidance}
"""By vLLM's name, in `structured_outputs_config.backend`."""


def guidance_source(kind: Kind, text: str, *, any_whitespace: bool) -> str:
    """The grammar in llguidance's own form: `vllm.v1.structured_output.backend_guidance.serialize_guidance_grammar`.

    Raises ValueError, KeyError or TypeError for what cannot be one.
    """
    import llguidance

    if kind == "json":
        return llguidance.LLMatcher.grammar_from_json_schema(text, defaults={"whitespace_flexible": any_whitespace})
    if kind != "structural_tag":
        return llguidance.grammar_from(kind, text)
    wanted: dict[str, Any] = json.loads(text)
    tags = []
    for one in wanted["structures"]:
        trigger = next((word for word in wanted["triggers"] if one["begin"].startswith(word)), None)
        if trigger is None:
            raise ValueError("A structure begins with none of the triggers.")
        inner = guidance_source("json", json.dumps(one["schema"]), any_whitespace=any_whitespace)
        tags.append(llguidance.StructTag(trigger=trigger, begin=one["begin"], grammar=inner, end=one["end"]))
    if not tags:
        raise ValueError("There are no structures.")
    return llguidance.StructTag.to_grammar(tags)
