"""vLLM's `structured_outputs`: the form that an answer is to have, as JSON, an expression, choices or a grammar.

https://docs.vllm.ai/en/latest/features/structured_outputs.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from protocol.errors import Fault
from protocol.generation import JsonOutput, TextOutput
from protocol.json_schema.bounds import MAX_NESTED_REPEATS
from protocol.json_schema.check import check_schema
from protocol.json_schema.patterns import nested_repeats
from protocol.validation.request import NO_NUL, RequestPart, is_nested_deeper, refusal, shown

MAX_EXPRESSION_CHARS = 8192
MAX_GRAMMAR_CHARS = 64 * 1024
MAX_CHOICES = 1000
MAX_CHOICE_CHARS = 1000
MAX_TAGS = 64
MAX_TAG_CHARS = 1000
MAX_TAGS_DEPTH = 40
MAX_TAGS_BYTES = 256 * 1024


def _object(given: Any) -> Any:
    """An object that may be given as JSON text, as some clients of vLLM do."""
    if not isinstance(given, str):
        return given
    if len(given) > MAX_TAGS_BYTES:
        raise refusal(Fault.INVALID_VALUE, f"must have at most {MAX_TAGS_BYTES} characters, got {len(given)}.")
    try:
        parsed = orjson.loads(given)
    except orjson.JSONDecodeError as failure:
        raise refusal(Fault.INVALID_VALUE, f"must be JSON: {failure.msg}.") from None
    if not isinstance(parsed, dict):
        raise refusal(Fault.INVALID_TYPE, f"must hold a JSON object, got {shown(parsed)}.")
    return parsed


def _check_tags(tags: dict[str, Any]) -> dict[str, Any]:
    """The structural tag with its schemas as answers follow them. Raises for what is not vLLM's older form."""
    if "format" in tags:
        predicate = "with a format is not supported; send structures and triggers."
        raise refusal(Fault.UNSUPPORTED_FIELD, predicate)
    if is_nested_deeper(tags, MAX_TAGS_DEPTH):
        raise refusal(Fault.INVALID_VALUE, f"must be nested at most {MAX_TAGS_DEPTH} levels deep.")
    structures, triggers = _tag_list(tags, "structures"), _tag_list(tags, "triggers")
    for at, trigger in enumerate(triggers):
        _check_tag_text(trigger, ("triggers", at))
        if not trigger:
            raise refusal(Fault.INVALID_VALUE, "must not be empty.", ("triggers", at))
    return {
        "triggers": triggers,
        "structures": [_structure(one, triggers, ("structures", at)) for at, one in enumerate(structures)],
    }


def _tag_list(tags: dict[str, Any], name: str) -> list[Any]:
    found = tags.get(name)
    if not isinstance(found, list) or not found:
        raise refusal(Fault.INVALID_TYPE, f"needs a list {name} that is not empty.")
    if len(found) > MAX_TAGS:
        raise refusal(Fault.INVALID_VALUE, f"must have at most {MAX_TAGS} items, got {len(found)}.", (name,))
    return found


def _check_tag_text(text: object, at: tuple[str | int, ...]) -> None:
    if not isinstance(text, str):
        raise refusal(Fault.INVALID_TYPE, f"must be a string, got {shown(text)}.", at)
    if len(text) > MAX_TAG_CHARS or "\0" in text:
        raise refusal(Fault.INVALID_VALUE, f"must have at most {MAX_TAG_CHARS} characters, and no NUL.", at)


def _structure(one: object, triggers: list[str], at: tuple[str | int, ...]) -> dict[str, Any]:
    if not isinstance(one, dict) or not isinstance(one.get("schema"), dict):
        raise refusal(Fault.INVALID_TYPE, "must be an object with begin, schema (an object) and end.", at)
    begin, end = one.get("begin"), one.get("end")
    _check_tag_text(begin, (*at, "begin"))
    _check_tag_text(end, (*at, "end"))
    if not any(str(begin).startswith(trigger) for trigger in triggers):
        raise refusal(Fault.INVALID_VALUE, "must begin with one of the triggers.", (*at, "begin"))
    return {"begin": begin, "schema": check_schema(one["schema"]), "end": end}


def _check_repeats(expression: str) -> str:
    if (repeats := nested_repeats(expression)) > MAX_NESTED_REPEATS:
        predicate = f"has nested repeats that must multiply to at most {MAX_NESTED_REPEATS}, got {repeats}."
        raise refusal(Fault.INVALID_VALUE, predicate)
    return expression


Schema = Annotated[dict[str, Any], BeforeValidator(_object), AfterValidator(check_schema)]
Expression = Annotated[
    str, Field(min_length=1, max_length=MAX_EXPRESSION_CHARS), NO_NUL, AfterValidator(_check_repeats)
]
Grammar = Annotated[str, Field(min_length=1, max_length=MAX_GRAMMAR_CHARS), NO_NUL]
Choices = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=MAX_CHOICE_CHARS), NO_NUL]],
    Field(min_length=1, max_length=MAX_CHOICES, fail_fast=True),
]
StructuralTag = Annotated[dict[str, Any], BeforeValidator(_object), AfterValidator(_check_tags)]

KINDS = ("json", "regex", "choice", "grammar", "json_object", "structural_tag")


class StructuredOutputs(RequestPart):
    """The form that an answer must take; exactly one of these."""

    # `json` itself is taken: pydantic's models have a method of that name.
    definition: Schema | None = Field(
        default=None, alias="json", description="JSON that satisfies this schema: an object, or one as JSON text."
    )
    regex: Expression | None = Field(
        default=None, description="A text that this regular expression matches as a whole; Rust's syntax."
    )
    choice: Choices | None = Field(default=None, description="One of these texts.")
    grammar: Grammar | None = Field(default=None, description="A text of this grammar: Lark, or GBNF.")
    json_object: bool | None = Field(default=None, description="Any JSON object.")
    structural_tag: StructuralTag | None = Field(
        default=None,
        description="Text in which what follows a trigger is one of `structures`: `begin`, JSON that satisfies "
        "`schema`, `end`. An object, or one as JSON text.",
    )
    whitespace_pattern: str | None = Field(default=None, description="Refused: the white space of JSON is fixed.")

    @model_validator(mode="before")
    @classmethod
    def _check_one(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        named = [name for name in KINDS if given.get(name) not in (None, False)]
        if len(named) != 1:
            choices = ", ".join(KINDS)
            predicate = f"must have exactly one of {choices}; got {', '.join(named) or 'none'}."
            raise refusal(Fault.INVALID_VALUE, predicate)
        if given.get("whitespace_pattern") is not None:
            predicate = "cannot be followed: the white space of JSON is fixed; remove it."
            raise refusal(Fault.UNSUPPORTED_FIELD, predicate, ("whitespace_pattern",))
        return given

    @property
    def named(self) -> str:
        """The one that is given."""
        values = (self.definition, self.regex, self.choice, self.grammar, self.json_object, self.structural_tag)
        return next(name for name, value in zip(KINDS, values, strict=True) if value not in (None, False))

    @property
    def constraint(self) -> JsonOutput | TextOutput:
        """The form as the engine takes it."""
        if self.definition is not None:
            return JsonOutput(self.definition)
        return text_output(self.regex, self.choice, self.grammar, self.structural_tag) or JsonOutput()


def text_output(
    regex: str | None, choice: list[str] | None, grammar: str | None, tags: Mapping[str, Any] | None = None
) -> TextOutput | None:
    """What the one of them that is given means; None if none is."""
    if regex is not None:
        return TextOutput("regex", regex)
    if choice is not None:
        return TextOutput("choice", orjson.dumps(choice).decode())
    if grammar is not None:
        return TextOutput("grammar", grammar)
    return None if tags is None else TextOutput("structural_tag", orjson.dumps(tags).decode())
