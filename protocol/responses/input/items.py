"""The items of a response's input: messages, calls and their outputs, reasoning, references.

https://platform.openai.com/docs/api-reference/responses/create#responses-create-input
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    TypeAdapter,
    model_validator,
)

from protocol.chat.content import Content, check_parts, is_sound
from protocol.chat.messages import MAX_MESSAGES, Name, arguments_object
from protocol.errors import Fault
from protocol.responses.input.content import ReasoningParts
from protocol.responses.input.summary import opened
from protocol.validation.request import RequestPart, Text, quoted, refusal
from protocol.validation.structure import excess_of

MAX_ITEMS = MAX_MESSAGES
"""Items of one request, and of a whole conversation."""


def _check_arguments(arguments: str) -> str:
    """Refuse what a template cannot render."""
    arguments_object(arguments)
    return arguments


Id = Annotated[str, Field(max_length=256)]
CallText = Annotated[Text, AfterValidator(_check_arguments)]
ItemStatus = Literal["in_progress", "completed", "incomplete"]


class InputItem(RequestPart):
    """What all items may have. Items that were an answer's output come back with it."""

    id: Id | None = Field(default=None, description="Given by the server.")
    status: ItemStatus | None = None


class MessageItem(InputItem):
    """A message of any role."""

    type: Literal["message"] = "message"
    role: Literal["user", "system", "developer", "assistant"]
    content: Content = Field(description="Text, or a list of parts: text, images.")
    phase: Literal["commentary", "final_answer"] | None = Field(default=None, description="Of the assistant's.")

    @model_validator(mode="after")
    def _check_parts(self) -> MessageItem:
        check_parts(self.content, self.role)
        return self


class FunctionCallItem(InputItem):
    """A call of a function."""

    type: Literal["function_call"]
    call_id: Name
    name: Name
    namespace: Name | None = None
    arguments: CallText = Field(description="JSON, as the model wrote it.")


class CustomCallItem(InputItem):
    """A call of a custom tool."""

    type: Literal["custom_tool_call"]
    call_id: Name
    name: Name
    namespace: Name | None = None
    input: Text


class CallOutputItem(InputItem):
    """The result of a call."""

    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: Name
    output: Content = Field(description="Text, or a list of parts: text, images.")

    @model_validator(mode="after")
    def _has_no_sound(self) -> CallOutputItem:
        for index, part in enumerate(self.output if isinstance(self.output, list) else ()):
            if is_sound(part):
                raise refusal(
                    Fault.INVALID_VALUE, "is sound, which only the user's messages may hold.", ("output", index)
                )
        return self


class ReasoningItem(InputItem):
    """What the model thought. Its text is in `content`; without one, `summary` stands for it."""

    type: Literal["reasoning"]
    summary: ReasoningParts = Field(default_factory=list)
    content: ReasoningParts | None = None
    encrypted_content: str | None = Field(default=None, description="Accepted; this server sends none.")

    @property
    def text(self) -> str:
        """Its text."""
        return "".join(part.text for part in self.content or self.summary)


class ReferenceItem(RequestPart):
    """An item of an earlier response, by its id."""

    type: Literal["item_reference"] = "item_reference"
    id: Id


class CompactionItem(InputItem):
    """A dialogue in short, as `POST /v1/responses/compact` has given it."""

    type: Literal["compaction"]
    encrypted_content: Text = Field(description="As it was given.")
    _summary: str = PrivateAttr(default="")

    @model_validator(mode="after")
    def _open(self) -> CompactionItem:
        try:
            self._summary = opened(self.encrypted_content)
        except ValueError:
            predicate = "is not of this server: send compaction items back as they were given."
            raise refusal(Fault.INVALID_VALUE, predicate, ("encrypted_content",)) from None
        return self

    @property
    def text(self) -> str:
        """The summary."""
        return self._summary


_KINDS = {
    "message": "<message>",
    "function_call": "<call>",
    "custom_tool_call": "<custom>",
    "function_call_output": "<output>",
    "custom_tool_call_output": "<output>",
    "reasoning": "<reasoning>",
    "item_reference": "<reference>",
    "compaction": "<compaction>",
}


def _kind(item: Any) -> str:
    """Which of the models reads `item`. OpenAI takes messages and references without a type."""
    if not isinstance(item, dict):
        return _KINDS.get(getattr(item, "type", ""), "<message>")
    kind = item.get("type")
    if kind is None and "role" not in item and "id" in item:
        return "<reference>"
    return _KINDS.get(kind or "message", "<message>")


def _known_item(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    kind = item.get("type")
    if kind is not None and not isinstance(kind, str):
        raise refusal(Fault.INVALID_TYPE, "must be a string.", ("type",))
    if kind is not None and kind not in _KINDS:
        predicate = f"{quoted(kind)} is not supported: this server reads text and images, and runs no tools."
        raise refusal(Fault.UNSUPPORTED_CONTENT, predicate, ("type",))
    # Clients send items back as they received them, with null for missing members.
    return {name: value for name, value in item.items() if value is not None}


Item = Annotated[
    Annotated[MessageItem, Tag("<message>")]
    | Annotated[FunctionCallItem, Tag("<call>")]
    | Annotated[CustomCallItem, Tag("<custom>")]
    | Annotated[CallOutputItem, Tag("<output>")]
    | Annotated[ReasoningItem, Tag("<reasoning>")]
    | Annotated[ReferenceItem, Tag("<reference>")]
    | Annotated[CompactionItem, Tag("<compaction>")],
    Discriminator(_kind),
    BeforeValidator(_known_item),
]
AnyItem = (
    MessageItem | FunctionCallItem | CustomCallItem | CallOutputItem | ReasoningItem | ReferenceItem | CompactionItem
)
ITEMS: TypeAdapter[list[AnyItem]] = TypeAdapter(list[Item])
"""Reads items that the server itself wrote, from plain JSON values."""
ItemList = Annotated[list[Item], Field(max_length=MAX_ITEMS, fail_fast=True)]


def check_calls(items: Any) -> Any:
    """Refuse calls whose arguments, JSON as text, would be too much together: the body's own bound sees only text."""
    if not isinstance(items, list):
        return items
    texts = [
        arguments.encode(errors="replace")
        for item in items
        if isinstance(item, dict) and isinstance(arguments := item.get("arguments"), str)
    ]
    if excess := excess_of(*texts):
        raise refusal(Fault.INVALID_VALUE, excess.replace("holds", "has calls whose arguments hold", 1))
    return items
