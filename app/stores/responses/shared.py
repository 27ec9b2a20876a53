"""Responses and conversations in the shared store, where every server finds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote, unquote

from app.stores.redis import StoreUnavailable
from app.stores.responses.base import ITEM_BYTES, Entry, Item, ResponsesOptions, size_of
from app.stores.responses.memory import MemoryResponses
from app.stores.responses.redis_script import SCRIPT
from app.stores.shared import SharedStore
from protocol.errors import Fault, TwowireError


class SharedResponses:
    """Implements `app.stores.responses.base.ResponseStore`.

    While the store is down, new responses are kept in this server's memory, and only here. They stay there.
    """

    def __init__(
        self,
        store: SharedStore,
        limits: ResponsesOptions,
        clock: Callable[[], float] | None = None,
        *,
        max_conversation_bytes: int | None = None,
    ) -> None:
        """`clock`: the time in seconds; without one it is that of the store.

        `max_conversation_bytes`: if less than all room. The store must have the same bound.
        """
        self._store = store
        self._limits = limits
        self._clock = clock
        self._local = MemoryResponses(limits, max_conversation_bytes=max_conversation_bytes)
        self.max_conversation_bytes = self._local.max_conversation_bytes
        self._totals = (0, 0)

    @property
    def totals(self) -> tuple[int, int]:
        """Those of all servers when the store was last used here, and what is kept only here."""
        entries, size = self._local.totals
        return self._totals[0] + entries, self._totals[1] + size

    async def put(self, entry: Entry) -> bool:
        items = (*encoded_items(entry.items), *encoded_items(entry.output))
        try:
            is_stored = bool(
                await self._run(
                    "put", entry.owner, entry.id, entry.body, entry.parent or "", entry.size, len(entry.items), *items
                )
            )
        except StoreUnavailable:
            return await self._local.put(entry)
        # An earlier state from when the store was down would hide the new one.
        await self._local.delete(entry.owner, entry.id)
        return is_stored

    async def get(self, owner: str, entry_id: str) -> Entry | None:
        if (entry := await self._local.get(owner, entry_id)) is not None:
            return entry
        found = await self._read("get", owner, entry_id)
        return None if found is None else _entry(owner, found)

    async def head(self, owner: str, entry_id: str) -> Entry | None:
        if (entry := await self._local.head(owner, entry_id)) is not None:
            return entry
        found = await self._read("head", owner, entry_id)
        return None if found is None else _entry(owner, found)

    async def chain(self, owner: str, entry_id: str) -> list[Entry] | None:
        newest: list[Entry] = []
        wanted: str | None = entry_id
        while wanted is not None and (entry := await self._local.get(owner, wanted)) is not None:
            newest.insert(0, entry)
            wanted = entry.parent
        if wanted is None:
            return newest
        found = await self._read("chain", owner, wanted)
        return None if found is None else [*(_entry(owner, each) for each in found), *newest]

    async def find_item(self, owner: str, item_id: str) -> bytes | None:
        if (item := await self._local.find_item(owner, item_id)) is not None:
            return item
        found: bytes | None = await self._read("find_item", owner, quote(item_id))
        return found

    async def replace(self, owner: str, entry_id: str, body: bytes) -> bool:
        return await self._local.replace(owner, entry_id, body) or bool(
            await self._read("replace", owner, entry_id, body)
        )

    async def append(self, owner: str, entry_id: str, items: Sequence[Item]) -> bool:
        size = size_of(items)
        if size > self.max_conversation_bytes:  # It would be sent in vain.
            return False
        return await self._local.append(owner, entry_id, items) or bool(
            await self._read("append", owner, entry_id, size, *encoded_items(items))
        )

    async def remove_item(self, owner: str, entry_id: str, item_id: str) -> bool:
        return await self._local.remove_item(owner, entry_id, item_id) or bool(
            await self._read("remove_item", owner, entry_id, quote(item_id), ITEM_BYTES)
        )

    async def delete(self, owner: str, entry_id: str) -> bool:
        # The store first: a response that it still has would come back when it is up again.
        was_there = bool(await self._read("delete", owner, entry_id))
        return await self._local.delete(owner, entry_id) or was_there

    async def close(self) -> None:
        await self._local.close()

    async def _read(self, operation: str, owner: str, name: str, *arguments: str | bytes | float) -> Any:
        try:
            return await self._run(operation, owner, name, *arguments)
        except StoreUnavailable as error:
            raise TwowireError(
                Fault.STORE_FAILED, "Responses cannot be stored or read at the moment.", retry_after_s=5
            ) from error

    async def _run(self, operation: str, owner: str, name: str, *arguments: str | bytes | float) -> Any:
        limits = self._limits
        now = "" if self._clock is None else self._clock()
        bounds = (now, limits.keep_s, limits.max_per_key, limits.max_bytes)
        entries, size, reply = await self._store.run(SCRIPT, (operation, owner, name, *bounds, *arguments))
        self._totals = entries, size
        return reply


def encoded_items(items: Sequence[Item]) -> list[bytes]:
    return [b"%b\n%b" % (quote(item.id).encode(), item.json) for item in items]


def decoded_items(encoded: Sequence[bytes]) -> tuple[Item, ...]:
    return tuple(Item(unquote(name.decode()), json) for name, _, json in (item.partition(b"\n") for item in encoded))


def _entry(owner: str, found: Sequence[Any]) -> Entry:
    name, body, parent, items, output = found
    return Entry(name.decode(), owner, body, decoded_items(items), decoded_items(output), parent.decode() or None)
