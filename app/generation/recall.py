"""Completes a request with the earlier items it continues, from the caller's history."""

from __future__ import annotations

import uuid
from typing import Any

from app.stores.responses.history import History
from protocol.responses.items import ITEMS, ReferenceItem
from protocol.responses.objects import item_object
from protocol.responses.request import ResponseRequest


async def recall(request: ResponseRequest, history: History) -> None:
    """Add the turns that the request continues, and resolve references. Raises `TwowireError` if an item is missing."""
    items = request.input_items
    for number, item in enumerate(items):
        if isinstance(item, ReferenceItem):
            items[number] = ITEMS.validate_python([await history.item(item.id)])[0]
    previous, conversation = request.previous_response_id, request.conversation_id
    if previous is not None or conversation is not None:
        request.go_on_from(ITEMS.validate_python(await history.before(previous, conversation)))


def own_items(request: ResponseRequest) -> list[dict[str, Any]]:
    """The items of the request itself, to be stored."""
    return [item_object(item, lambda prefix: f"{prefix}_{uuid.uuid4().hex}") for item in request.input_items]
