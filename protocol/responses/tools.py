"""The tools of a response: what a client may declare, and which of them the model may or must call."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from protocol.chat.tools import MAX_TOOLS, ChoiceWord, Parameters, word_or_object
from protocol.errors import Fault
from protocol.validation.request import RequestPart, Text, quoted, refusal

SEPARATOR = "__"
"""Between a namespace and a name, which the model sees as one."""
LONGEST_NAME = 128
ToolName = Annotated[str, Field(pattern=rf"^[A-Za-z0-9_-]{{1,{LONGEST_NAME}}}$")]

HOSTED_TOOLS = frozenset(
    {
        "apply_patch",
        "code_interpreter",
        "computer",
        "computer_use",
        "computer_use_preview",
        "file_search",
        "image_generation",
        "local_shell",
        "mcp",
        "programmatic_tool_calling",
        "shell",
        "tool_search",
        "web_search",
        "web_search_2025_08_26",
        "web_search_preview",
        "web_search_preview_2025_03_11",
    }
)
"""Tools that OpenAI runs, or that only its models know how to call."""


class FunctionTool(RequestPart):
    """A function that the model may call."""

    type: Literal["function"]
    name: ToolName
    description: Text | None = None
    parameters: Parameters | None = Field(default=None, description="A JSON schema; without one, no arguments.")
    strict: bool | None = Field(default=None, description="Arguments must satisfy the schema, held by a grammar.")


class CustomFormat(RequestPart):
    """What the input of a custom tool looks like."""

    type: Literal["text", "grammar"] = "text"
    syntax: Literal["lark", "regex"] | None = None
    definition: Text | None = None


class CustomTool(RequestPart):
    """A tool whose input is text."""

    type: Literal["custom"]
    name: ToolName
    description: Text | None = None
    format: CustomFormat | None = Field(
        default=None, description="An expression (regex) is held by a grammar; a grammar (lark) is shown to the model."
    )


class NamespaceTool(RequestPart):
    """Tools under one name."""

    type: Literal["namespace"]
    name: ToolName
    description: Text | None = None
    tools: Annotated[list[NamespaceMember], Field(min_length=1, max_length=MAX_TOOLS, fail_fast=True)]


class HostedTool(RequestPart):
    """A tool that this server does not run."""

    type: str


def _kind(tool: Any) -> str:
    kind = tool.get("type") if isinstance(tool, dict) else getattr(tool, "type", None)
    if kind in ("custom", "namespace"):
        return f"<{kind}>"
    return "<hosted>" if isinstance(kind, str) and kind in HOSTED_TOOLS else "<function>"


def _known_type(tool: Any) -> Any:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if isinstance(kind, str) and kind not in ("function", "custom", "namespace", *HOSTED_TOOLS):
        raise refusal(Fault.UNSUPPORTED_CONTENT, f"{quoted(kind)} is not known.", ("type",))
    return _flat(tool)


def _flat(tool: Any) -> Any:
    """Refuse the form of chat completions, which has a tool's members in `function`."""
    if isinstance(tool, dict) and isinstance(tool.get("function"), dict) and "name" not in tool:
        raise refusal(Fault.MISSING_FIELD, "is required: what `function` has belongs beside `type` here.", ("name",))
    return tool


NamespaceMember = Annotated[
    Annotated[FunctionTool, Tag("<function>")] | Annotated[CustomTool, Tag("<custom>")],
    Discriminator(lambda tool: kind if (kind := _kind(tool)) == "<custom>" else "<function>"),
]
DeclaredTool = Annotated[
    Annotated[FunctionTool, Tag("<function>")]
    | Annotated[CustomTool, Tag("<custom>")]
    | Annotated[NamespaceTool, Tag("<namespace>")]
    | Annotated[HostedTool, Tag("<hosted>")],
    Discriminator(_kind),
    BeforeValidator(_known_type),
]
ToolList = Annotated[list[DeclaredTool], Field(max_length=MAX_TOOLS, fail_fast=True)]


class ToolReference(RequestPart):
    """A tool that is declared elsewhere in the request."""

    type: str
    name: ToolName | None = None
    namespace: ToolName | None = None


class ToolChoiceObject(ToolReference):
    """`tool_choice` as an object: one tool by name, or a part of them."""

    mode: Literal["auto", "required"] | None = Field(default=None, description="With type `allowed_tools`.")
    tools: Annotated[list[ToolReference], Field(min_length=1, max_length=MAX_TOOLS)] | None = Field(
        default=None, description="With type `allowed_tools`: those that may be called."
    )


ToolChoiceField = Annotated[ChoiceWord | ToolChoiceObject, BeforeValidator(lambda value: _flat(word_or_object(value)))]

NamespaceTool.model_rebuild()
