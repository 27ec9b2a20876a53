"""What clients send to the Conversations API.

https://platform.openai.com/docs/api-reference/conversations
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from protocol.responses.input.items import Item, check_calls
from protocol.sampling import Metadata
from protocol.validation.request import RequestModel

MAX_ITEMS_AT_A_TIME = 20
"""OpenAI's limit for one request."""

Items = Annotated[list[Item], Field(max_length=MAX_ITEMS_AT_A_TIME, fail_fast=True), BeforeValidator(check_calls)]


class ConversationRequest(RequestModel):
    """Creates a conversation."""

    items: Items | None = Field(default=None, description="Its first items.")
    metadata: Metadata | None = Field(default=None, description="Up to 16 pairs of strings.")


class ConversationUpdate(RequestModel):
    """Changes a conversation."""

    metadata: Metadata = Field(description="Up to 16 pairs of strings, in place of those it has.")


class ItemsRequest(RequestModel):
    """Adds items to a conversation."""

    items: Items = Field(description="The items to add at its end.")
