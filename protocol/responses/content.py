"""The content of items: text, in one piece or in parts, as chat has it; and what the model thought."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from protocol.chat.messages import MAX_CONTENT_PARTS, RefusalPart, TextPart
from protocol.validation.request import RequestPart, Text


class ReasoningText(RequestPart):
    """A piece of what the model thought."""

    type: Literal["reasoning_text", "summary_text", "text"]
    text: Text


ReasoningParts = Annotated[list[ReasoningText], Field(max_length=MAX_CONTENT_PARTS, fail_fast=True)]


def text_of(content: str | list[TextPart | RefusalPart]) -> str:
    """The text of a content: its parts joined with nothing between."""
    if isinstance(content, str):
        return content
    return "".join(part.refusal if isinstance(part, RefusalPart) else part.text for part in content)
