"""Samples from a JSON schema as the engine would: random tokens among those that its grammar engine allows.

The guide's own tokenizer and llguidance, without vLLM and without a model.
"""

from __future__ import annotations

import functools
import json
import random
import re
from pathlib import Path
from typing import Any

import llguidance
import numpy as np
from jsonschema import Draft202012Validator, FormatChecker

from engine.grammar.backends import guidance_source, parser_limits
from engine.grammar.constraint import json_constraint
from protocol.json_schema.keywords import FORMATS

GUIDE = Path(__file__).parents[1] / "engine" / "guide"


_TEXT_OR_SEPARATOR = re.compile(r'"(?:\\.|[^"\\])*"|[,:]')


def _spaced(found: re.Match[str]) -> str:
    """A separator with its space; a text as it is."""
    return f"{found[0]} " if found[0] in (",", ":") else found[0]


class GrammarRefusedError(Exception):
    """The grammar engine does not take the schema, or gave up on it later."""


@functools.cache
def tokenizer() -> llguidance.LLTokenizer:
    config = json.loads((GUIDE / "config.json").read_text("utf-8"))
    text = (GUIDE / "tokenizer.json").read_text("utf-8")
    return llguidance.LLTokenizer(text, n_vocab=config["vocab_size"], eos_token=config["eos_token_id"])


@functools.cache
def _token(text: str) -> int:
    (token,) = tokenizer().tokenize_str(text)
    return int(token)


class Grammar:
    """A compiled schema, and a text that grows. Raises `GrammarRefusedError`, also at any later step."""

    def __init__(self, schema: dict[str, Any]) -> None:
        grammar = guidance_source("json", json_constraint(schema).text, any_whitespace=False)
        self._matcher = llguidance.LLMatcher(tokenizer(), grammar, log_level=0, limits=parser_limits())
        self._check()

    def _check(self) -> None:
        if error := self._matcher.get_error():
            raise GrammarRefusedError(error.splitlines()[0])

    def accepts(self, text: str) -> bool:
        """Whether `text`, written without white space, is one of the answers, whole."""
        matcher = self._matcher.deep_copy()
        tokens = tokenizer().tokenize_str(_TEXT_OR_SEPARATOR.sub(_spaced, text))
        return all(map(matcher.consume_token, tokens)) and matcher.is_accepting()

    def allowed(self) -> np.ndarray:
        """The ids of the tokens that may come next; the end is not among them."""
        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
        self._check()
        bits[tokenizer().eos_token] = 0
        return np.flatnonzero(bits)

    def sample(self, seed: int, max_tokens: int = 150) -> str | None:
        """A whole answer of random tokens that tends to end; None where it has not ended within `max_tokens`."""
        chance = random.Random(seed)
        tokens: list[int] = []
        for step in range(max_tokens):
            if self._matcher.is_stopped():
                break
            if self._matcher.is_accepting() and (chance.random() < 0.5 or step > max_tokens // 2):
                break
            allowed = self.allowed()
            closing = [_token(mark) for mark in ('"', "}", "]", ",") if _token(mark) in allowed]
            is_late = chance.random() < (0.3 if step < 30 else 0.8)
            token = chance.choice(closing) if closing and is_late else int(chance.choice(allowed))
            assert self._matcher.consume_token(token), "an allowed token is refused"
            tokens.append(token)
        else:
            return None
        return tokenizer().decode_str(tokens)


def is_valid(schema: dict[str, Any], instance: Any) -> bool:
    """Whether `instance` satisfies `schema` as the jsonschema package has it, with the formats that are followed."""
    checker = FormatChecker(())
    known = Draft202012Validator.FORMAT_CHECKER.checkers
    checker.checkers = {name: check for name, check in known.items() if name in FORMATS}
    validator = Draft202012Validator(schema, format_checker=checker)
    return bool(validator.is_valid(instance))
