"""The messages of a request, and what a chat template is given for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Tag

from protocol.errors import Fault
from protocol.messages.blocks import (
    AssistantContent,
    SystemContent,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    UserContent,
    template_content,
    text_of,
)
from protocol.validation.request import RequestPart, quoted, refusal

TemplateMessage = dict[str, Any]

BILLING_HEADER = "x-anthropic-billing-header:"
"""Claude Code begins its system prompt with a line that changes with each request. It is not for the model, and with
it, no prompt would be found in the prefix cache."""


class UserMessage(RequestPart):
    """What the user says, and the results of calls."""

    role: Literal["user"]
    content: UserContent

    def template_messages(self, position: int = 0) -> Iterator[TemplateMessage]:
        """A message for each result of a call, then one for the rest."""
        blocks, at = self.content, f"messages[{position}].content"
        if isinstance(blocks, str):
            yield {"role": "user", "content": blocks}
            return
        results = 0
        for number, block in enumerate(blocks):
            if isinstance(block, ToolResultBlock):
                content = block.template_content(f"{at}[{number}].content")
                yield {"role": "tool", "content": content, "tool_call_id": block.tool_use_id}
                results += 1
        if results < len(blocks) or not results:
            yield {"role": "user", "content": template_content(blocks, at)}


class AssistantMessage(RequestPart):
    """What the assistant has thought, said and called."""

    role: Literal["assistant"]
    content: AssistantContent

    @property
    def has_calls(self) -> bool:
        """Whether it calls tools."""
        return not isinstance(self.content, str) and any(isinstance(block, ToolUseBlock) for block in self.content)

    def template_messages(self, position: int = 0) -> Iterator[TemplateMessage]:
        """One message."""
        blocks = self.content
        if isinstance(blocks, str):
            yield {"role": "assistant", "content": blocks}
            return
        # Text blocks were one text, divided by calls.
        text = "".join(block.text for block in blocks if isinstance(block, TextBlock))
        message: TemplateMessage = {"role": "assistant", "content": text}
        calls = [_template_call(block) for block in blocks if isinstance(block, ToolUseBlock)]
        if calls:
            message["tool_calls"] = calls
        if thoughts := "".join(block.thinking for block in blocks if isinstance(block, ThinkingBlock)):
            # Some templates read one of these, others the other.
            message["reasoning"] = message["reasoning_content"] = thoughts
        yield message


def _template_call(block: ToolUseBlock) -> dict[str, Any]:
    return {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": block.input}}


class SystemMessage(RequestPart):
    """Instructions; also in the middle of a chat."""

    role: Literal["system"]
    content: SystemContent

    def template_messages(self, position: int = 0) -> Iterator[TemplateMessage]:
        """One message."""
        yield {"role": "system", "content": text_of(self.content)}


def _role(message: Any) -> str:
    role = message.get("role") if isinstance(message, dict) else getattr(message, "role", None)
    return f"<{role}>"


def _known_role(message: Any) -> Any:
    if not isinstance(message, dict):
        raise refusal(Fault.INVALID_TYPE, "must be an object.")
    role = message.get("role")
    if role is None:
        raise refusal(Fault.MISSING_FIELD, "is required.", ("role",))
    if role not in ("user", "assistant", "system"):
        given = quoted(role) if isinstance(role, str) else "another type"
        raise refusal(Fault.INVALID_VALUE, f"must be 'user', 'assistant' or 'system', got {given}.", ("role",))
    return message


Message = Annotated[
    Annotated[UserMessage, Tag("<user>")]
    | Annotated[AssistantMessage, Tag("<assistant>")]
    | Annotated[SystemMessage, Tag("<system>")],
    Discriminator(_role),
    BeforeValidator(_known_role),
]


def system_messages(system: str | list[TextBlock] | None) -> list[TemplateMessage]:
    """The message for the field `system`; None if nothing is left of it."""
    if system is None:
        return []
    texts = [system] if isinstance(system, str) else [block.text for block in system]
    text = "\n".join(kept for kept in map(_without_billing_header, texts) if kept)
    return [{"role": "system", "content": text}] if text else []


def _without_billing_header(text: str) -> str:
    return text.partition("\n")[2] if text.startswith(BILLING_HEADER) else text
