"""The responses of one connection. Those created without `store` can be continued while the connection lasts.

They are kept in memory, in one store for all connections, under the connection's id. Each remembers its lane: when a
request fails, its lane forgets the response that it would have continued, and other lanes forget nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson

from app.stores.responses.base import Entry
from app.stores.responses.history import StoredHistory, entry_of, items_of
from app.stores.responses.memory import MemoryResponses


class ConnectionHistory:
    """What the responses of a connection may continue."""

    def __init__(self, connection_id: str, cache: MemoryResponses, stored: StoredHistory) -> None:
        self.id = connection_id
        self.cache = cache
        self.stored = stored

    def lane(self, name: str) -> LaneHistory:
        """The history for a request on the lane `name`."""
        return LaneHistory(self, name)

    def close(self) -> None:
        """Forget all responses."""
        self.cache.drop_owner(self.id)


class LaneHistory:
    """Implements `app.stores.responses.history.History`."""

    def __init__(self, connection: ConnectionHistory, name: str) -> None:
        self._connection_id = connection.id
        self._cache = connection.cache
        self._stored = connection.stored
        self._name = name

    async def before(self, previous_response_id: str | None, conversation: str | None) -> list[dict[str, Any]]:
        newest: list[Entry] = []
        wanted = previous_response_id
        while wanted is not None and (entry := await self._cache.get(self._connection_id, wanted)) is not None:
            newest.append(entry)
            wanted = entry.parent
        older = await self._stored.before(wanted, conversation)
        return older + [item for entry in reversed(newest) for item in items_of(entry)]

    async def item(self, item_id: str) -> dict[str, Any]:
        found = await self._cache.find_item(self._connection_id, item_id)
        if found is None:
            return await self._stored.item(item_id)
        item: dict[str, Any] = orjson.loads(found)
        return item

    async def keep(
        self, response: bytes, input_items: Sequence[dict[str, Any]], text_lengths: Sequence[Sequence[int]] = ()
    ) -> None:
        await self._stored.keep(response, input_items, text_lengths)
        body = orjson.loads(response)
        if body["status"] == "failed":
            await self.forget(body.get("previous_response_id"))
        elif not body["store"]:
            # Nobody gets the object again, so its place holds the lane.
            entry = replace(entry_of(body, input_items, self._connection_id), body=self._name.encode())
            await self._cache.put(entry)

    async def forget(self, response_id: object) -> None:
        """A request that would have continued this response has failed."""
        if isinstance(response_id, str):
            entry = await self._cache.get(self._connection_id, response_id)
            if entry is not None and entry.body == self._name.encode():
                await self._cache.delete(self._connection_id, response_id)
