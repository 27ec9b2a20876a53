"""The objects of the Conversations API and of stored responses, for the documentation."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Conversation(BaseModel):
    """A conversation, without its items."""

    id: str = Field(description="`conv_…`")
    object: Literal["conversation"] = "conversation"
    created_at: int = Field(description="Unix time in seconds.")
    metadata: dict[str, str] = Field(description="As given.")


class DeletedConversation(BaseModel):
    """A deleted conversation."""

    id: str
    object: Literal["conversation.deleted"] = "conversation.deleted"
    deleted: Literal[True] = True


class DeletedResponse(BaseModel):
    """A deleted response."""

    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class ItemPage(BaseModel):
    """A page of a list of items."""

    object: Literal["list"] = "list"
    data: list[dict[str, Any]] = Field(description="The items, each with an `id` and a `type`.")
    first_id: str | None = Field(description="The id of the first item; null if there is none.")
    last_id: str | None = Field(description="The id of the last item, for `after`.")
    has_more: bool = Field(description="More items follow.")


class ConversationItem(BaseModel):
    """An item: a message, a call, a call's output, or the model's reasoning."""

    model_config = ConfigDict(extra="allow")

    id: str = Field(description="The item's id.")
    type: str = Field(description="Says which other members there are.")
