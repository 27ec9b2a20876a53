"""Custom tools, whose input is text: to the model, functions with one string."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from protocol.errors import Fault
from protocol.generation import Tool
from protocol.json_schema import check_schema
from protocol.validation.request import RequestPart, Text, refusal

Syntax = Literal["lark", "regex"]


class CustomGrammar(RequestPart):
    """What the input must follow."""

    syntax: Syntax
    definition: Text


class CustomFormat(RequestPart):
    """What the input of a custom tool looks like."""

    type: Literal["text", "grammar"] = "text"
    grammar: CustomGrammar | None = None


def _check_format(form: CustomFormat) -> CustomFormat:
    if form.type == "grammar" and form.grammar is None:
        raise refusal(Fault.MISSING_FIELD, "is required with type 'grammar'.", ("grammar",))
    return form


def input_schema(expression: str | None = None) -> dict[str, Any]:
    """The schema of the arguments; `expression`: a regular expression for the whole input."""
    held = {} if expression is None else {"pattern": f"^(?:{_without_anchors(expression)})$"}
    return {
        "type": "object",
        "properties": {"input": {"type": "string", **held}},
        "required": ["input"],
        "additionalProperties": False,
    }


CUSTOM_SCHEMA = input_schema()
"""Of a tool that takes any text."""


def _without_anchors(expression: str) -> str:
    """The expression without those at its ends: it must match the whole input anyway."""
    end = expression.removesuffix("$")
    backslashes = len(end) - len(end.rstrip("\\"))
    return (expression if backslashes % 2 else end).removeprefix("^")


def custom_tool(
    name: str, description: str | None, grammar: tuple[Syntax, str] | None, at: tuple[str | int, ...]
) -> Tool:
    """A custom tool for the engine; `grammar`: its syntax and definition.

    An expression is held. A grammar in Lark cannot be, within JSON; it is shown to the model, which nothing else does.
    `at` is the field of the definition, for the refusal of an expression.
    """
    if grammar is not None and grammar[0] == "regex":
        schema = input_schema(grammar[1])
        try:
            followed = check_schema(schema)
        except PydanticCustomError as error:
            raise refusal(Fault[error.type], (error.context or {})["predicate"], at) from None
        return Tool(name, description, schema, followed, is_strict=True, is_custom=True)
    if grammar is not None:
        shown = f"The input must follow this lark grammar:\n{grammar[1]}"
        description = f"{description}\n\n{shown}" if description else shown
    return Tool(name, description, CUSTOM_SCHEMA, CUSTOM_SCHEMA, is_custom=True)


class CustomDeclaration(RequestPart):
    """A tool whose input is text."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: Text | None = None
    format: Annotated[CustomFormat, AfterValidator(_check_format)] | None = Field(
        default=None, description="An expression (regex) is held by a grammar; a grammar (lark) is shown to the model."
    )

    @property
    def grammar(self) -> tuple[Syntax, str] | None:
        """The syntax and definition of what the input must follow; None for any text."""
        form = self.format
        if form is None or form.type == "text" or form.grammar is None:
            return None
        return form.grammar.syntax, form.grammar.definition
