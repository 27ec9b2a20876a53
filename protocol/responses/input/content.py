"""What the model thought, as items have it. Other content is as in chats: see `protocol.chat.content`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from protocol.chat.content import MAX_CONTENT_PARTS
from protocol.validation.request import RequestPart, Text


class ReasoningText(RequestPart):
    """A piece of what the model thought."""

    type: Literal["reasoning_text", "summary_text", "text"]
    text: Text


ReasoningParts = Annotated[list[ReasoningText], Field(max_length=MAX_CONTENT_PARTS, fail_fast=True)]
