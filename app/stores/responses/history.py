"""What a caller's responses continue, and where they are kept: all that creating one needs from the store.

The route, and each socket, make a `History` for the caller. Creating a response asks it for the items before its own
input, and gives it the finished object before the client gets the event that ends the response.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import orjson
import structlog

from app.stores.responses.base import Entry, Item, ResponseStore
from protocol.errors import Fault, TwowireError

CONVERSATION_PREFIX = "conv_"
"""The prefix of conversation ids, which no other ids have."""

TEXT_LENGTHS = "_text_lengths"
"""A member of a kept response that clients do not see: see `protocol.encoder.KeptEncoder`."""

UNFINISHED = ("queued", "in_progress")
"""The states of a response that may still change."""

log = structlog.get_logger(__name__)


class History(Protocol):
    """The earlier responses of a caller."""

    async def before(self, previous_response_id: str | None, conversation: str | None) -> list[dict[str, Any]]:
        """The items before a new response's own input, oldest first: at most one argument is given.

        Raises `TwowireError`: there is no such response or conversation, or it belongs to somebody else.
        """

    async def item(self, item_id: str) -> dict[str, Any]:
        """What an `item_reference` stands for. Raises `TwowireError` if there is no such item."""

    async def keep(
        self, response: bytes, input_items: Sequence[dict[str, Any]], text_lengths: Sequence[Sequence[int]] = ()
    ) -> None:
        """Keep a response object, if its `store` says so, and add to its conversation; replaces an earlier state.

        `input_items` are those of the request itself, each with an id. `text_lengths` are those of its encoder. Raises
        `TwowireError` if it cannot be kept.
        """


class StoredHistory:
    """Implements `History` on the server's store."""

    def __init__(self, store: ResponseStore, owner: str | None) -> None:
        self.owner = owner or ""
        self._store = store

    async def before(self, previous_response_id: str | None, conversation: str | None) -> list[dict[str, Any]]:
        if previous_response_id is not None:
            is_conversation = previous_response_id.startswith(CONVERSATION_PREFIX)
            chain = None if is_conversation else await self._store.chain(self.owner, previous_response_id)
            if chain is None:
                raise previous_not_found(previous_response_id)
            if orjson.loads(chain[-1].body).get("status") in UNFINISHED:
                message = "The response has not ended, or was interrupted; it cannot be continued."
                raise TwowireError(Fault.INVALID_VALUE, message, param="previous_response_id")
            return [item for entry in chain for item in items_of(entry)]
        if conversation is not None:
            entry = await self._store.get(self.owner, conversation)
            if entry is None or not conversation.startswith(CONVERSATION_PREFIX):
                raise conversation_not_found(conversation)
            return items_of(entry)
        return []

    async def item(self, item_id: str) -> dict[str, Any]:
        found = await self._store.find_item(self.owner, item_id)
        if found is None:
            raise item_not_found(item_id)
        item: dict[str, Any] = orjson.loads(found)
        return item

    async def keep(
        self, response: bytes, input_items: Sequence[dict[str, Any]], text_lengths: Sequence[Sequence[int]] = ()
    ) -> None:
        body: dict[str, Any] = orjson.loads(response)
        entry = entry_of(body | ({TEXT_LENGTHS: text_lengths} if text_lengths else {}), input_items, self.owner)
        if body.get("conversation") is not None and body["status"] not in UNFINISHED:
            conversation = body["conversation"]["id"]
            if not await self._store.append(self.owner, conversation, (*entry.items, *entry.output)):
                raise await not_appended(self._store, self.owner, conversation, "conversation")
        if body["store"] and not await self._store.put(entry):
            log.warning("response_too_large_to_store", id=entry.id, bytes=entry.size)
            message = f"The response takes {entry.size} bytes, more than the store may have (--responses-max-bytes)."
            raise TwowireError(Fault.STORE_FAILED, message)


def entry_of(body: dict[str, Any], input_items: Sequence[dict[str, Any]], owner: str) -> Entry:
    """A response object as an entry."""
    return Entry(
        body["id"],
        owner,
        orjson.dumps(body | {"output": []}),
        items_from(input_items),
        items_from(body["output"]),
        body.get("previous_response_id"),
    )


def items_from(items: Sequence[dict[str, Any]]) -> tuple[Item, ...]:
    """Items with their ids, as a store keeps them."""
    return tuple(Item(item["id"], orjson.dumps(item)) for item in items)


def items_of(entry: Entry) -> list[dict[str, Any]]:
    """An entry's items: those of the input, then those of the output."""
    return [orjson.loads(item.json) for item in (*entry.items, *entry.output)]


def response_of(entry: Entry) -> dict[str, Any]:
    """An entry as a response object."""
    body: dict[str, Any] = orjson.loads(entry.body)
    body.pop(TEXT_LENGTHS, None)
    return body | {"output": [orjson.loads(item.json) for item in entry.output]}


def text_lengths_of(entry: Entry) -> list[list[int]]:
    """What `History.keep` was given with the response; nothing for one that was not streamed."""
    lengths: list[list[int]] = orjson.loads(entry.body).get(TEXT_LENGTHS, [])
    return lengths


def response_not_found(response_id: str) -> TwowireError:
    """There is no such response, or it belongs to somebody else: the two must look the same."""
    return _not_found(Fault.RESPONSE_NOT_FOUND, "response", response_id, "response_id")


def previous_not_found(response_id: str) -> TwowireError:
    """There is no such response to continue, or an earlier one that it continues is gone."""
    return _not_found(Fault.PREVIOUS_RESPONSE_NOT_FOUND, "response", response_id, "previous_response_id")


def conversation_not_found(conversation_id: str) -> TwowireError:
    """There is no such conversation, or it belongs to somebody else."""
    return _not_found(Fault.CONVERSATION_NOT_FOUND, "conversation", conversation_id, "conversation")


async def not_appended(store: ResponseStore, owner: str, conversation_id: str, param: str) -> TwowireError:
    """Why `append` was refused."""
    if await store.head(owner, conversation_id) is None:
        return conversation_not_found(conversation_id)
    message = f"The conversation would take more than {store.max_conversation_bytes} bytes. Begin a new one."
    return TwowireError(Fault.INVALID_VALUE, message, param=param)


def item_not_found(item_id: str) -> TwowireError:
    """There is no such item, or it belongs to somebody else."""
    return _not_found(Fault.ITEM_NOT_FOUND, "item", item_id, "id")


def _not_found(fault: Fault, kind: str, wanted: str, param: str) -> TwowireError:
    # It comes from the client, and may be long.
    return TwowireError(fault, f"There is no {kind} {wanted[:80]!r}, or it is no longer stored.", param=param)
