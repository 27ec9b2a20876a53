"""The tools of a request: what a client may declare, and which of them the model may or must call."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from protocol.errors import Fault
from protocol.generation import Tool, ToolChoice, Tools
from protocol.json_schema import check_schema
from protocol.validation.request import RequestPart, Text, is_nested_deeper, quoted, refusal

MAX_TOOLS = 512
MAX_TOOLS_BYTES = 1024 * 1024
"""All declarations of a request together, as JSON. They become part of the prompt."""
MAX_SCHEMA_DEPTH = 32

ToolName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
"""Anthropic's rule. A name stands in the grammar and in the model's markup, where other characters would break it."""


def _check_input_schema(schema: dict[str, Any]) -> dict[str, Any]:
    if is_nested_deeper(schema, MAX_SCHEMA_DEPTH):
        raise refusal(Fault.INVALID_VALUE, f"must be nested at most {MAX_SCHEMA_DEPTH} levels deep.")
    return schema


class ToolDeclaration(RequestPart):
    """A tool that the client runs."""

    type: Literal["custom"] = "custom"
    name: ToolName
    description: Text | None = None
    input_schema: Annotated[dict[str, Any], AfterValidator(_check_input_schema)] = Field(
        description="The JSON schema of its input."
    )
    strict: bool | None = Field(default=None, description="The input must satisfy the schema, held by a grammar.")


def _refuse_other_tools(tool: Any) -> Any:
    if not isinstance(tool, dict):
        return tool
    kind = tool.get("type")
    if isinstance(kind, str) and kind != "custom":
        predicate = (
            f"{quoted(kind)} is not offered: this server runs no tools, and knows none of Anthropic's by type. "
            "Declare yours with a name and an input_schema."
        )
        raise refusal(Fault.UNSUPPORTED_CONTENT, predicate, ("type",))
    # `type: null` is no type.
    return {name: value for name, value in tool.items() if name != "type"}


ToolList = Annotated[
    list[Annotated[ToolDeclaration, BeforeValidator(_refuse_other_tools)]],
    Field(max_length=MAX_TOOLS, fail_fast=True),
]


class ToolChoiceField(RequestPart):
    """Whether the model may (`auto`), must (`any`, or `tool` by `name`) or must not (`none`) call tools."""

    type: Literal["auto", "any", "tool", "none"]
    name: ToolName | None = Field(default=None, description="With `tool`: the one to call.")
    disable_parallel_tool_use: bool | None = Field(default=None, description="At most one call in an answer.")

    @model_validator(mode="after")
    def _check_name(self) -> Self:
        if self.type == "tool" and self.name is None:
            raise refusal(Fault.MISSING_FIELD, "is required with type 'tool'.", ("name",))
        return self


def tools_of(declarations: list[ToolDeclaration] | None, choice: ToolChoiceField | None) -> Tools | None:
    """The tools of a request as the engine takes them; None without any.

    For a pydantic validator: raises a refusal that names the field.
    """
    if not declarations:
        if choice is not None and choice.type in ("any", "tool"):
            raise refusal(Fault.INVALID_VALUE, "needs tools; declare them in `tools`.", ("tool_choice",))
        return None
    size = len(orjson.dumps([one.model_dump(exclude_none=True) for one in declarations]))
    if size > MAX_TOOLS_BYTES:
        raise refusal(Fault.INVALID_VALUE, f"must have at most {MAX_TOOLS_BYTES} bytes, got {size}.", ("tools",))
    names: set[str] = set()
    for number, one in enumerate(declarations):
        if one.name in names:
            raise refusal(Fault.INVALID_VALUE, f"is declared twice: {quoted(one.name)}.", ("tools", number, "name"))
        names.add(one.name)
    is_parallel = choice is None or not choice.disable_parallel_tool_use
    wanted = _choice(choice, names)
    # A grammar holds the arguments of all tools, or of none.
    is_held = wanted.mode == "required" or not is_parallel or any(one.strict for one in declarations)
    tools = [_tool(number, one, is_held=is_held) for number, one in enumerate(declarations)]
    return Tools(tuple(tools), wanted, is_parallel)


def _choice(choice: ToolChoiceField | None, names: set[str]) -> ToolChoice:
    if choice is None or choice.type == "auto":
        return ToolChoice()
    if choice.type == "none":
        return ToolChoice("none")
    if choice.type == "any":
        return ToolChoice("required")
    name = choice.name or ""
    if name not in names:
        raise refusal(Fault.INVALID_VALUE, f"{quoted(name)} is not declared in `tools`.", ("tool_choice", "name"))
    return ToolChoice("required", (name,), is_named=True)


def _tool(number: int, declaration: ToolDeclaration, *, is_held: bool) -> Tool:
    schema, followed = declaration.input_schema, None
    if is_held:
        try:
            followed = check_schema(schema)
        except PydanticCustomError as error:
            # Without `strict`, arguments need not satisfy their schema.
            if declaration.strict:
                predicate = (error.context or {})["predicate"]
                raise refusal(Fault[error.type], predicate, ("tools", number, "input_schema")) from None
    return Tool(declaration.name, declaration.description, schema, followed, bool(declaration.strict))
