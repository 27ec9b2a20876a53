"""The tools of a chat: what a client may declare, and which of them the model may or must call."""

from __future__ import annotations

from collections.abc import Container
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from protocol.chat.custom_tools import CustomDeclaration, custom_tool
from protocol.chat.messages import FunctionOrCustom
from protocol.errors import Fault
from protocol.generation import Tool, ToolChoice, Tools
from protocol.json_schema import check_schema
from protocol.validation.request import RequestPart, Text, is_nested_deeper, quoted, refusal

MAX_TOOLS = 128
"""OpenAI's bound."""
MAX_TOOLS_BYTES = 256 * 1024
"""All declarations of a request together, as JSON. They become part of the prompt."""
MAX_PARAMETERS_DEPTH = 32

NAME = r"^[A-Za-z0-9_-]{1,64}$"
ToolName = Annotated[str, Field(pattern=NAME)]
"""OpenAI's rule. A name stands in the grammar and in the model's own markup, where other characters would break it."""


def _check_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    if is_nested_deeper(parameters, MAX_PARAMETERS_DEPTH):
        raise refusal(Fault.INVALID_VALUE, f"must be nested at most {MAX_PARAMETERS_DEPTH} levels deep.")
    return parameters


Parameters = Annotated[dict[str, Any], AfterValidator(_check_parameters)]


class FunctionDeclaration(RequestPart):
    """A function that the model may call."""

    name: ToolName
    description: Text | None = None
    parameters: Parameters | None = Field(default=None, description="A JSON schema; without one, no arguments.")
    strict: bool | None = Field(default=None, description="Arguments must satisfy the schema, held by a grammar.")


def _known_type(tool: Any) -> Any:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if isinstance(kind, str) and kind not in ("function", "custom"):
        raise refusal(
            Fault.UNSUPPORTED_CONTENT, f"{quoted(kind)} is not offered; this server runs no tools.", ("type",)
        )
    return tool


class ToolDeclaration(FunctionOrCustom):
    """A tool: a function, or a custom tool."""

    type: Literal["function", "custom"] = "function"
    function: FunctionDeclaration | None = None
    custom: CustomDeclaration | None = None

    @property
    def declared(self) -> FunctionDeclaration | CustomDeclaration:
        """What it declares."""
        declared = self.function if self.type == "function" else self.custom
        assert declared is not None
        return declared


Declared = Annotated[ToolDeclaration, BeforeValidator(_known_type)]
ToolList = Annotated[list[Declared], Field(max_length=MAX_TOOLS, fail_fast=True)]


class NamedTool(RequestPart):
    """The name of a tool, in `tool_choice`."""

    name: ToolName


class AllowedTools(RequestPart):
    """A part of the tools: the model may (`auto`) or must (`required`) call one of them."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[ToolReference], Field(min_length=1, max_length=MAX_TOOLS)]


class ToolReference(FunctionOrCustom):
    """A tool that is declared elsewhere in the request."""

    type: Literal["function", "custom"] = "function"
    function: NamedTool | None = None
    custom: NamedTool | None = None

    @property
    def name(self) -> str:
        """Its name."""
        named = self.function if self.type == "function" else self.custom
        assert named is not None
        return named.name


class ToolChoiceObject(RequestPart):
    """`tool_choice` as an object: one tool by name, or a part of them."""

    type: Literal["function", "custom", "allowed_tools"]
    function: NamedTool | None = None
    custom: NamedTool | None = None
    allowed_tools: AllowedTools | None = None


ChoiceWord = Literal["none", "auto", "required"]


def word_or_object(value: Any) -> Any:
    """Check that `tool_choice` is one of its words or an object. For a pydantic validator: raises a refusal."""
    if not isinstance(value, (str, dict, RequestPart)):
        raise refusal(Fault.INVALID_TYPE, "must be 'none', 'auto', 'required', or an object that names a tool.")
    if isinstance(value, str) and value not in ("none", "auto", "required"):
        raise refusal(Fault.INVALID_VALUE, f"must be 'none', 'auto' or 'required', got {quoted(value)}.")
    return value


def _kind(value: Any) -> str:
    return "<word>" if isinstance(value, str) else "<object>"


# Told apart by their shape, so that an error names the field of the object that is wrong.
ToolChoiceField = Annotated[
    Annotated[ChoiceWord, Tag("<word>")] | Annotated[ToolChoiceObject, Tag("<object>")],
    Discriminator(_kind),
    BeforeValidator(word_or_object),
]


def tools_of(
    declarations: list[ToolDeclaration] | None, choice: ChoiceWord | ToolChoiceObject | None, *, parallel: bool
) -> Tools | None:
    """The tools of a request as the engine takes them; None without any.

    For a pydantic validator: raises a refusal that names the field.
    """
    if not declarations:
        if choice is not None and choice not in ("none", "auto"):
            raise refusal(Fault.INVALID_VALUE, "needs tools; declare them in `tools`.", ("tool_choice",))
        return None
    size = len(orjson.dumps([one.model_dump(exclude_none=True) for one in declarations]))
    if size > MAX_TOOLS_BYTES:
        raise refusal(Fault.INVALID_VALUE, f"must have at most {MAX_TOOLS_BYTES} bytes, got {size}.", ("tools",))
    names: dict[str, ToolDeclaration] = {}
    for number, one in enumerate(declarations):
        name = one.declared.name
        if name in names:
            raise refusal(
                Fault.INVALID_VALUE, f"is declared twice: {quoted(name)}.", ("tools", number, one.type, "name")
            )
        names[name] = one
    wanted = _choice(choice, names)
    # A grammar holds the arguments of all tools, or of none.
    is_held = wanted.mode == "required" or not parallel or any(_is_strict(one) for one in declarations)
    tools = [_tool(number, one, is_held=is_held) for number, one in enumerate(declarations)]
    return Tools(tuple(tools), wanted, parallel)


def _is_strict(declaration: ToolDeclaration) -> bool:
    declared = declaration.declared
    if isinstance(declared, CustomDeclaration):
        return declared.grammar is not None and declared.grammar[0] == "regex"
    return bool(declared.strict)


def _tool(number: int, declaration: ToolDeclaration, *, is_held: bool) -> Tool:
    declared = declaration.declared
    if isinstance(declared, CustomDeclaration):
        definition = ("tools", number, "custom", "format", "grammar", "definition")
        return custom_tool(declared.name, declared.description, declared.grammar, definition)
    schema = declared.parameters or {"type": "object", "properties": {}}
    followed = None
    if is_held:
        try:
            followed = check_schema(schema)
        except PydanticCustomError as error:
            # Without `strict`, arguments need not satisfy their schema.
            if declared.strict:
                at = ("tools", number, "function", "parameters")
                raise refusal(Fault[error.type], (error.context or {})["predicate"], at) from None
    return Tool(declared.name, declared.description, schema, followed, bool(declared.strict))


def _choice(choice: ChoiceWord | ToolChoiceObject | None, tools: Container[str]) -> ToolChoice:
    if choice is None or isinstance(choice, str):
        return ToolChoice(choice or "auto")
    if choice.type == "allowed_tools":
        if choice.allowed_tools is None:
            raise refusal(Fault.MISSING_FIELD, "is required.", ("tool_choice", "allowed_tools"))
        names = tuple(dict.fromkeys(one.name for one in choice.allowed_tools.tools))
        _check_declared(names, tools, ("tool_choice", "allowed_tools"))
        return ToolChoice(choice.allowed_tools.mode, names)
    named = choice.function if choice.type == "function" else choice.custom
    if named is None:
        raise refusal(Fault.MISSING_FIELD, "is required.", ("tool_choice", choice.type))
    _check_declared((named.name,), tools, ("tool_choice", choice.type, "name"))
    return ToolChoice("required", (named.name,), is_named=True)


def _check_declared(names: tuple[str, ...], tools: Container[str], at: tuple[str, ...]) -> None:
    for name in names:
        if name not in tools:
            raise refusal(Fault.INVALID_VALUE, f"{quoted(name)} is not declared in `tools`.", at)


FunctionList = Annotated[list[FunctionDeclaration], Field(max_length=MAX_TOOLS, fail_fast=True)]


def _legacy_shape(value: Any) -> Any:
    if not isinstance(value, (str, dict, NamedTool)):
        raise refusal(Fault.INVALID_TYPE, "must be 'none', 'auto', or an object that names a function.")
    if isinstance(value, str) and value not in ("none", "auto"):
        raise refusal(Fault.INVALID_VALUE, f"must be 'none' or 'auto', got {quoted(value)}.")
    return value


LegacyChoice = Annotated[
    Annotated[Literal["none", "auto"], Tag("<word>")] | Annotated[NamedTool, Tag("<object>")],
    Discriminator(_kind),
    BeforeValidator(_legacy_shape),
]


def legacy_tools(functions: list[FunctionDeclaration]) -> list[ToolDeclaration]:
    """`functions` as tools."""
    return [ToolDeclaration.model_construct(type="function", function=one, custom=None) for one in functions]


def legacy_choice(choice: Literal["none", "auto"] | NamedTool | None) -> ChoiceWord | ToolChoiceObject | None:
    """`function_call` as a tool choice."""
    if isinstance(choice, NamedTool):
        return ToolChoiceObject.model_construct(type="function", function=choice, custom=None, allowed_tools=None)
    return choice


AllowedTools.model_rebuild()
