"""What is compiled, within which limits, and what came of it.

Imports nothing heavy: the worker imports this, too.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["json", "json_object", "regex", "grammar", "choice", "structural_tag"]
"""The names are those of vLLM's StructuredOutputOptions, in lower case."""

Outcome = Literal["accepted", "refused", "too_slow", "too_large", "crashed", "late", "busy", "cancelled"]
"""`too_slow` is processor time; `late` is time on the clock, of which a busy machine may give a compile too little;
`busy` means that the machine had no memory or process left for it."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """The form that an answer must have: a kind, and its text as the engine compiles it."""

    kind: Kind
    text: str

    @property
    def key(self) -> bytes:
        """16 bytes that stand for it in the cache."""
        return hashlib.blake2b(self.text.encode(), digest_size=16, person=self.kind.encode()).digest()


SEPARATORS = {"x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}}
"""White space in JSON: one space after each comma and colon, as models write it, and no other.

Without any, small models are led off what they know and may not find the end of a text; where white space is free, some
write it up to the token limit. The keyword is llguidance's own, for the top of a schema.
"""


def json_constraint(schema: dict[str, Any] | None) -> Constraint:
    """The constraint of JSON that satisfies `schema`; without one, of any object."""
    wanted = {"type": "object"} if schema is None else schema
    return Constraint("json", json.dumps(wanted | SEPARATORS, ensure_ascii=False))


@dataclass(frozen=True, slots=True)
class CompileLimits:
    """What compiling one constraint may take, beyond what the worker has before it begins."""

    cpu_s: float = 2.0
    memory_mib: int = 256
    wall_factor: int = 10
    """How many times `cpu_s` may pass on the clock, for a machine that is busy otherwise."""

    @property
    def wall_s(self) -> float:
        """Seconds on the clock."""
        return self.cpu_s * self.wall_factor


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """A grammar backend with its options, which are the engine's own, and the model's tokenizer in its form."""

    name: Literal["guidance"]
    """As vLLM calls it in `structured_outputs_config.backend`. See `engine.grammar.backends` for what is known."""
    tokenizer: str
    """A tokenizer.json, or `byte` for one token per byte."""
    vocab_size: int | None = None
    eos_token_id: int | None = None
    any_whitespace: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of compiling a constraint."""

    outcome: Outcome
    message: str = ""
    """Why it was refused, in the backend's words."""
    cpu_s: float = 0.0
    peak_mib: float = 0.0
    """The child's largest resident memory."""

    @classmethod
    def of(cls, header: dict[str, Any]) -> Verdict:
        """From the worker's message."""
        return cls(header["outcome"], header["message"], header["cpu_s"], header["peak_mib"])

    @property
    def is_final(self) -> bool:
        """It would be the same another time, whatever else the machine does."""
        return self.outcome in ("accepted", "refused", "too_slow", "too_large", "crashed")
