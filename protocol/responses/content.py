"""The content of items: text, in one piece or in parts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from protocol.chat.messages import MAX_CONTENT_PARTS, TEXT_PARTS, TextPart
from protocol.errors import Fault
from protocol.validation.request import RequestPart, Text, quoted, refusal


class RefusalContent(RequestPart):
    """What the assistant said instead of an answer."""

    type: Literal["refusal"]
    refusal: Text

    @property
    def text(self) -> str:
        """What it said."""
        return self.refusal


class ReasoningText(RequestPart):
    """A piece of what the model thought."""

    type: Literal["reasoning_text", "summary_text", "text"]
    text: Text


def _refuse_other_media(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind not in (*TEXT_PARTS, "refusal"):
        predicate = f"{quoted(kind)} is not supported: this server reads text only, and fetches nothing."
        raise refusal(Fault.UNSUPPORTED_CONTENT, predicate, ("type",))
    return part


def _part_kind(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else getattr(part, "type", None)
    return "<refusal>" if kind == "refusal" else "<text>"


def _content_shape(value: Any) -> str | None:
    return "<text>" if isinstance(value, str) else "<parts>" if isinstance(value, list) else None


ContentPart = Annotated[
    Annotated[TextPart, Tag("<text>")] | Annotated[RefusalContent, Tag("<refusal>")],
    Discriminator(_part_kind),
    BeforeValidator(_refuse_other_media),
]
Content = Annotated[
    Annotated[Text, Tag("<text>")]
    | Annotated[list[ContentPart], Field(max_length=MAX_CONTENT_PARTS, fail_fast=True), Tag("<parts>")],
    Discriminator(
        _content_shape,
        custom_error_type=Fault.INVALID_TYPE.name,
        custom_error_message="must be a string or a list of content parts",
    ),
]
ReasoningParts = Annotated[list[ReasoningText], Field(max_length=MAX_CONTENT_PARTS, fail_fast=True)]


def text_of(content: str | list[TextPart | RefusalContent]) -> str:
    """The text of a content: its parts joined with nothing between."""
    return content if isinstance(content, str) else "".join(part.text for part in content)
