"""A constraint on an answer, the limits of its compile, and the verdict. The worker imports this: nothing heavy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from engine.option import Option
from protocol.generation import JsonOutput, TextOutput

Kind = Literal["json", "regex", "grammar", "choice", "structural_tag"]
"""The names are those of vLLM's StructuredOutputOptions, in lower case."""

Outcome = Literal["accepted", "refused", "too_slow", "too_large", "crashed", "late", "busy", "failed", "cancelled"]
"""`too_slow`: too much CPU time. `late`: too much time on the clock, as on a busy machine. `busy`: no memory or process
was left for it. `crashed`: the compiler failed. `failed`: this server failed before it could compile."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """The form that an answer must have, as the engine compiles it."""

    kind: Kind
    text: str

    @property
    def key(self) -> bytes:
        """16 bytes that identify it in the cache."""
        return hashlib.blake2b(self.text.encode(), digest_size=16, person=self.kind.encode()).digest()


SEPARATORS = {"x-guidance": {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}}
"""White space in JSON: one space after each comma and colon, as models write it, and no other.

With none, small models leave familiar text and may not find its end; with free white space, some write it up to the
token limit. The keyword is llguidance's own, for the top of a schema.
"""


def schema_text(schema: Mapping[str, Any]) -> str:
    """`schema` as llguidance takes it, with the white space of `SEPARATORS`."""
    return json.dumps({**schema, **SEPARATORS}, ensure_ascii=False)


def json_constraint(schema: Mapping[str, Any]) -> Constraint:
    """Constrain an answer to JSON that satisfies `schema`."""
    return Constraint("json", schema_text(schema))


def constraint_of(wanted: JsonOutput | TextOutput) -> Constraint:
    """Constrain an answer to the form that a request wants, without thoughts before it; but for structural tags."""
    if isinstance(wanted, JsonOutput):
        return json_constraint(wanted.schema)
    if wanted.kind == "choice":
        return Constraint("grammar", f"start: {alternatives(json.loads(wanted.text))}\n")
    return Constraint(wanted.kind, wanted.text)


def alternatives(texts: Iterable[str]) -> str:
    """One of `texts`, in llguidance's Lark."""
    return " | ".join(json.dumps(text, ensure_ascii=False) for text in texts)


@dataclass(frozen=True, slots=True)
class CompileLimits:
    """What compiling one constraint may take, on top of what the worker uses already."""

    cpu_s: Annotated[
        float,
        Option(
            "How much CPU time compiling a JSON schema may take before the request is refused.",
            name="grammar_compile_timeout_s",
            ge=0.1,
            le=60,
        ),
    ] = 2.0
    memory_mib: Annotated[
        int, Option("How much memory compiling a JSON schema may take before the request is refused, in MiB.", ge=16)
    ] = 256
    wall_factor: int = 10
    """How many times `cpu_s` may pass on the clock, to allow for a busy machine."""

    @property
    def wall_s(self) -> float:
        """Seconds on the clock."""
        return self.cpu_s * self.wall_factor


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """A grammar backend, with the engine's options and the model's tokenizer in the backend's form."""

    name: Literal["guidance"]
    """vLLM's name for it, in `structured_outputs_config.backend`; see `engine.grammar.backends`."""
    tokenizer: str
    """A tokenizer.json, or `byte` for one token per byte."""
    vocab_size: int | None = None
    eos_token_id: int | None = None
    any_whitespace: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of compiling a constraint."""

    outcome: Outcome
    message: str = ""
    """Why it was refused, in the backend's words; or why this server failed."""
    cpu_s: float = 0.0
    peak_mib: float = 0.0
    """The child's largest resident memory."""

    @classmethod
    def of(cls, header: dict[str, Any]) -> Verdict:
        """From the worker's message."""
        return cls(header["outcome"], header["message"], header["cpu_s"], header["peak_mib"])

    @property
    def is_final(self) -> bool:
        """Whether another compile would end the same, whatever else the machine does."""
        return self.outcome in ("accepted", "refused", "too_slow", "too_large", "crashed")
