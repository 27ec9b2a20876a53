"""Turns the tools that a client declares into the engine's, and their names back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import orjson
from pydantic_core import PydanticCustomError

from protocol.chat.custom_tools import Syntax, custom_tool
from protocol.chat.tools import MAX_TOOLS, MAX_TOOLS_BYTES
from protocol.errors import Fault
from protocol.generation import Tool, ToolChoice, Tools
from protocol.json_schema import check_schema
from protocol.responses.tools import (
    HOSTED_TOOLS,
    LONGEST_NAME,
    SEPARATOR,
    CustomTool,
    FunctionTool,
    HostedTool,
    NamespaceTool,
    ToolChoiceObject,
    ToolReference,
)
from protocol.validation.request import quoted, refusal

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class ToolName:
    """The client's name for a tool."""

    name: str
    namespace: str | None
    is_custom: bool


@dataclass(frozen=True, slots=True)
class ToolSet:
    """The tools of a request."""

    tools: Tools | None
    names: Mapping[str, ToolName]
    """The client's names, by the model's."""
    hosted: tuple[tuple[int, str], ...]
    """Position and type of the tools that this server does not run, where the model may call them."""


NO_TOOLS = ToolSet(None, {}, ())


def flat_name(name: str, namespace: str | None) -> str:
    """The model's name for a tool."""
    if namespace is None:
        return name
    return namespace + name if namespace.endswith(SEPARATOR) else namespace + SEPARATOR + name


Declared = FunctionTool | CustomTool | NamespaceTool | HostedTool


def tool_set(declared: list[Declared], choice: str | ToolChoiceObject | None, *, is_parallel: bool) -> ToolSet:
    """The tools of a request. For a pydantic validator: raises a refusal that names the field."""
    found = list(_flattened(declared))
    if len(found) > MAX_TOOLS:
        raise refusal(Fault.INVALID_VALUE, f"must have at most {MAX_TOOLS} tools, got {len(found)}.", ("tools",))
    size = len(orjson.dumps([tool.model_dump(exclude_none=True) for _, _, tool in found]))
    if size > MAX_TOOLS_BYTES:
        raise refusal(Fault.INVALID_VALUE, f"must have at most {MAX_TOOLS_BYTES} bytes, got {size}.", ("tools",))
    names: dict[str, ToolName] = {}
    for at, namespace, tool in found:
        flat = flat_name(tool.name, namespace)
        if flat in names:
            raise refusal(Fault.INVALID_VALUE, f"is declared twice: {quoted(flat)}.", (*at, "name"))
        if len(flat) > LONGEST_NAME:
            predicate = f"must have at most {LONGEST_NAME} characters with its namespace, got {len(flat)}."
            raise refusal(Fault.INVALID_VALUE, predicate, (*at, "name"))
        names[flat] = ToolName(tool.name, namespace, isinstance(tool, CustomTool))
    wanted, hosted = _choice(choice, names), _hosted(declared, choice)
    if not found:
        if wanted.mode == "required" and not hosted:
            raise refusal(Fault.INVALID_VALUE, "needs tools; declare them in `tools`.", ("tool_choice",))
        return ToolSet(None, {}, hosted)
    # A grammar holds the arguments of all tools, or of none.
    is_held = wanted.mode == "required" or not is_parallel or any(_is_strict(tool) for _, _, tool in found)
    made = [_tool(tool, namespace, at, is_held=is_held) for at, namespace, tool in found]
    return ToolSet(Tools(tuple(made), wanted, is_parallel), names, hosted)


def _flattened(declared: Iterable[Declared]) -> Iterator[tuple[Path, str | None, FunctionTool | CustomTool]]:
    """Where each function and custom tool is declared, and its namespace."""
    for number, tool in enumerate(declared):
        if isinstance(tool, NamespaceTool):
            for member, inner in enumerate(tool.tools):
                yield ("tools", number, "tools", member), tool.name, inner
        elif not isinstance(tool, HostedTool):
            yield ("tools", number), None, tool


def _is_strict(tool: FunctionTool | CustomTool) -> bool:
    if isinstance(tool, FunctionTool):
        return bool(tool.strict)
    grammar = _grammar(tool)
    return grammar is not None and grammar[0] == "regex"


def _tool(tool: FunctionTool | CustomTool, namespace: str | None, at: Path, *, is_held: bool) -> Tool:
    name = flat_name(tool.name, namespace)
    if isinstance(tool, CustomTool):
        return custom_tool(name, tool.description, _grammar(tool), (*at, "format", "definition"))
    schema = tool.parameters or {"type": "object", "properties": {}}
    followed = None
    if is_held:
        try:
            followed = check_schema(schema)
        except PydanticCustomError as error:
            # Without `strict`, arguments need not satisfy their schema.
            if tool.strict:
                raise refusal(Fault[error.type], (error.context or {})["predicate"], (*at, "parameters")) from None
    return Tool(name, tool.description, schema, followed, bool(tool.strict))


def _grammar(tool: CustomTool) -> tuple[Syntax, str] | None:
    """What the input must follow: syntax and definition."""
    form = tool.format
    if form is None or form.type == "text" or not form.definition:
        return None
    return form.syntax or "lark", form.definition


def _choice(choice: str | ToolChoiceObject | None, names: Mapping[str, ToolName]) -> ToolChoice:
    if choice is None or isinstance(choice, str):
        return ToolChoice(choice or "auto")  # type: ignore[arg-type]  # one of its three words: `ToolChoiceField`
    if choice.type == "allowed_tools":
        if choice.mode is None or choice.tools is None:
            missing = "mode" if choice.mode is None else "tools"
            raise refusal(Fault.MISSING_FIELD, "is required.", ("tool_choice", missing))
        allowed = [one for one in choice.tools if one.type not in HOSTED_TOOLS]
        flat = [_declared_name(one, names, ("tool_choice", "tools")) for one in allowed]
        if not flat:
            return ToolChoice("none")
        return ToolChoice(choice.mode, tuple(dict.fromkeys(flat)))
    if choice.type in HOSTED_TOOLS:
        predicate = f"{quoted(choice.type)} is not offered; this server runs no tools."
        raise refusal(Fault.UNSUPPORTED_CONTENT, predicate, ("tool_choice", "type"))
    return ToolChoice("required", (_declared_name(choice, names, ("tool_choice",)),), is_named=True)


def _declared_name(named: ToolReference, names: Mapping[str, ToolName], at: Path) -> str:
    """The model's name of a tool that `tool_choice` names."""
    if named.type not in ("function", "custom"):
        raise refusal(Fault.INVALID_VALUE, f"{quoted(named.type)} is not known.", (*at, "type"))
    if named.name is None:
        raise refusal(Fault.MISSING_FIELD, "is required.", (*at, "name"))
    flat = flat_name(named.name, named.namespace)
    if flat not in names:
        raise refusal(Fault.INVALID_VALUE, f"{quoted(flat)} is not declared in `tools`.", (*at, "name"))
    return flat


def _hosted(declared: list[Declared], choice: str | ToolChoiceObject | None) -> tuple[tuple[int, str], ...]:
    """The hosted tools that `choice` leaves to the model."""
    if choice == "none" or (isinstance(choice, ToolChoiceObject) and choice.type in ("function", "custom")):
        return ()
    allowed = None
    if isinstance(choice, ToolChoiceObject) and choice.tools is not None:
        allowed = {one.type for one in choice.tools}
    return tuple(
        (number, tool.type)
        for number, tool in enumerate(declared)
        if isinstance(tool, HostedTool) and (allowed is None or tool.type in allowed)
    )
