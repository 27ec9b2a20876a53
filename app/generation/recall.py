"""Completes a request with the earlier items it continues, from the caller's history."""

from __future__ import annotations

import uuid
from typing import Any

from pydantic import ValidationError

from app.stores.responses.history import History
from protocol.errors import Fault, TwowireError
from protocol.responses.input.items import ITEMS, AnyItem, ReferenceItem
from protocol.responses.objects import item_object
from protocol.responses.request import ResponseRequest
from protocol.validation.parse import refusal_of


async def recall(request: ResponseRequest, history: History) -> None:
    """Add the turns that the request continues, and resolve references. Raises `TwowireError` if an item is missing."""
    items = request.input_items
    for number, item in enumerate(items):
        if isinstance(item, ReferenceItem):
            (items[number],) = _read([await history.item(item.id)], f"input[{number}].id")
    previous, conversation = request.previous_response_id, request.conversation_id
    if previous is not None or conversation is not None:
        param = "conversation" if previous is None else "previous_response_id"
        request.go_on_from(_read(await history.before(previous, conversation), param))


def _read(items: list[dict[str, Any]], param: str) -> list[AnyItem]:
    """Kept items. Raises `TwowireError` where a model has written what no client may send."""
    try:
        return ITEMS.validate_python(items)
    except ValidationError as failure:
        wrong = refusal_of(failure, items)
        message = f"{param} leads to an item that cannot be sent to the model: {wrong.message}"
        raise TwowireError(Fault.INVALID_VALUE, message, param=param) from None


def own_items(request: ResponseRequest) -> list[dict[str, Any]]:
    """The items of the request itself, to be stored."""
    return [item_object(item, lambda prefix: f"{prefix}_{uuid.uuid4().hex}") for item in request.input_items]
