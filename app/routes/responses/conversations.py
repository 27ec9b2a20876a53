"""Conversations: lists of items that responses continue."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

import orjson
from quart import Blueprint, Response, request

from app.observability.record import record_of
from app.routes.responses.paging import list_response, page_response
from app.routes.shared.http import json_response, parsed_body
from app.services import Services
from app.stores.responses.base import Entry, Item
from app.stores.responses.history import (
    CONVERSATION_PREFIX,
    conversation_not_found,
    item_not_found,
    items_from,
    not_appended,
)
from protocol.conversations.request import ConversationRequest, ConversationUpdate, ItemsRequest
from protocol.errors import Fault, TwowireError
from protocol.responses.input.items import AnyItem, ReferenceItem
from protocol.responses.objects import item_object
from protocol.validation.request import RequestModel

T = TypeVar("T", bound=RequestModel)

PATH = "/v1/conversations"


def conversation_routes(services: Services) -> Blueprint:
    """`/v1/conversations` and everything below it."""
    routes = Blueprint("conversations", __name__)
    one = f"{PATH}/<conversation_id>"
    for path, name, method, route in (
        (PATH, "create", "POST", create),
        (one, "retrieve", "GET", retrieve),
        (one, "update", "POST", update),
        (one, "delete", "DELETE", delete),
        (f"{one}/items", "list_items", "GET", list_items),
        (f"{one}/items", "add_items", "POST", add_items),
        (f"{one}/items/<item_id>", "retrieve_item", "GET", retrieve_item),
        (f"{one}/items/<item_id>", "delete_item", "DELETE", delete_item),
    ):
        routes.add_url_rule(path, name, partial(route, services), methods=[method])
    return routes


async def create(services: Services) -> Response:
    """Create a conversation, with items if they are given."""
    asked = await _parsed(services, ConversationRequest)
    items = await _items(services, asked.items or [])
    conversation = {
        "id": CONVERSATION_PREFIX + uuid.uuid4().hex,
        "object": "conversation",
        "created_at": int(time.time()),
        "metadata": asked.metadata or {},
    }
    body = orjson.dumps(conversation)
    if not await services.responses.put(Entry(str(conversation["id"]), _owner(), body, items)):
        message = f"The conversation would take more than {services.settings.responses.max_bytes} bytes."
        raise TwowireError(Fault.INVALID_VALUE, message, param="items")
    return json_response(body)


async def retrieve(services: Services, conversation_id: str) -> Response:
    """Get a conversation, without its items."""
    return json_response((await _head(services, conversation_id)).body)


async def update(services: Services, conversation_id: str) -> Response:
    """Change a conversation's metadata."""
    asked = await _parsed(services, ConversationUpdate)
    entry = await _head(services, conversation_id)
    body = orjson.dumps(orjson.loads(entry.body) | {"metadata": asked.metadata})
    if not await services.responses.replace(entry.owner, entry.id, body):
        raise conversation_not_found(conversation_id)
    return json_response(body)


async def delete(services: Services, conversation_id: str) -> Response:
    """Delete a conversation with its items."""
    entry = await _head(services, conversation_id)
    await services.responses.delete(entry.owner, entry.id)
    return json_response(orjson.dumps({"id": conversation_id, "object": "conversation.deleted", "deleted": True}))


async def list_items(services: Services, conversation_id: str) -> Response:
    """List a conversation's items."""
    return page_response((await _entry(services, conversation_id)).items)


async def add_items(services: Services, conversation_id: str) -> Response:
    """Add items at the end of a conversation; returns them."""
    asked = await _parsed(services, ItemsRequest)
    entry = await _head(services, conversation_id)
    items = await _items(services, asked.items)
    if not await services.responses.append(entry.owner, entry.id, items):
        raise await not_appended(services.responses, entry.owner, entry.id, "items")
    return list_response(items)


async def retrieve_item(services: Services, conversation_id: str, item_id: str) -> Response:
    """Get one item of a conversation."""
    for item in (await _entry(services, conversation_id)).items:
        if item.id == item_id:
            return json_response(item.json)
    raise item_not_found(item_id)


async def delete_item(services: Services, conversation_id: str, item_id: str) -> Response:
    """Delete one item of a conversation; returns the conversation."""
    entry = await _head(services, conversation_id)
    if not await services.responses.remove_item(entry.owner, entry.id, item_id):
        raise item_not_found(item_id)
    return json_response(entry.body)


def _owner() -> str:
    return record_of(request.scope).owner or ""


async def _parsed(services: Services, model: type[T]) -> T:
    return await parsed_body(model, services.parser, services.settings.requests.body_timeout_s)


async def _entry(services: Services, conversation_id: str) -> Entry:
    return _found(await services.responses.get(_owner(), conversation_id), conversation_id)


async def _head(services: Services, conversation_id: str) -> Entry:
    """The conversation without its items, which may be large."""
    return _found(await services.responses.head(_owner(), conversation_id), conversation_id)


def _found(entry: Entry | None, conversation_id: str) -> Entry:
    # A response has an entry too.
    if entry is None or not entry.id.startswith(CONVERSATION_PREFIX):
        raise conversation_not_found(conversation_id)
    return entry


async def _items(services: Services, given: Sequence[AnyItem]) -> tuple[Item, ...]:
    """Items as they are stored: each with an id, and references resolved."""
    objects: list[dict[str, Any]] = []
    for item in given:
        if isinstance(item, ReferenceItem):
            found = await services.responses.find_item(_owner(), item.id)
            if found is None:
                raise item_not_found(item.id)
            objects.append(orjson.loads(found))
        else:
            objects.append(item_object(item, lambda prefix: f"{prefix}_{uuid.uuid4().hex}"))
    return items_from(objects)
