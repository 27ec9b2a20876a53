"""Responses and conversations in this process. The methods never suspend."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from app.stores.responses.base import Entry, Item, ResponsesOptions, size_of

SWEEP_EVERY_S = 60.0


@dataclass(slots=True)
class _Kept:
    entry: Entry
    used_at: float


class _Shelf:
    """The entries of one owner, least recently used first."""

    def __init__(self) -> None:
        self.entries: dict[str, _Kept] = {}
        self.entries_of_item: dict[str, tuple[str, ...]] = {}
        self.bytes = 0

    def add(self, entry: Entry, now: float) -> None:
        self.entries[entry.id] = _Kept(entry, now)
        self.bytes += entry.size
        for item in (*entry.items, *entry.output):
            self.entries_of_item[item.id] = (*self.entries_of_item.get(item.id, ()), entry.id)

    def drop(self, entry_id: str) -> int:
        """Drop an entry, if present, and return its size."""
        kept = self.entries.pop(entry_id, None)
        if kept is None:
            return 0
        for item in (*kept.entry.items, *kept.entry.output):
            others = tuple(other for other in self.entries_of_item.pop(item.id, ()) if other != entry_id)
            if others:
                self.entries_of_item[item.id] = others
        self.bytes -= kept.entry.size
        return kept.entry.size


class MemoryResponses:
    """Implements `app.stores.responses.base.ResponseStore`."""

    def __init__(
        self,
        limits: ResponsesOptions,
        clock: Callable[[], float] = time.monotonic,
        *,
        max_conversation_bytes: int | None = None,
    ) -> None:
        """`max_conversation_bytes`: if less than all room."""
        self.bytes = 0
        self.max_conversation_bytes = min(limits.max_bytes, max_conversation_bytes or limits.max_bytes)
        self._limits = limits
        self._clock = clock
        self._shelves: dict[str, _Shelf] = {}
        self._swept_at = clock()

    def __len__(self) -> int:
        return sum(len(shelf.entries) for shelf in self._shelves.values())

    @property
    def totals(self) -> tuple[int, int]:
        return len(self), self.bytes

    async def put(self, entry: Entry) -> bool:
        if entry.size > self._limits.max_bytes:
            return False
        self._sweep()
        self._drop(entry.owner, entry.id)
        self._add(entry)
        return True

    async def get(self, owner: str, entry_id: str) -> Entry | None:
        kept = self._find(owner, entry_id)
        return None if kept is None else kept.entry

    async def head(self, owner: str, entry_id: str) -> Entry | None:
        kept = self._find(owner, entry_id)
        return None if kept is None else replace(kept.entry, items=(), output=())

    async def chain(self, owner: str, entry_id: str) -> list[Entry] | None:
        found: list[Entry] = []
        wanted: str | None = entry_id
        while wanted is not None:
            kept = self._find(owner, wanted)
            if kept is None:
                return None
            found.append(kept.entry)
            wanted = kept.entry.parent
        found.reverse()
        for entry in found:
            self._use(entry)
        return found

    async def find_item(self, owner: str, item_id: str) -> bytes | None:
        shelf = self._shelves.get(owner)
        for entry_id in () if shelf is None else shelf.entries_of_item.get(item_id, ()):
            if (kept := self._find(owner, entry_id)) is not None:
                return next(item.json for item in (*kept.entry.items, *kept.entry.output) if item.id == item_id)
        return None

    async def replace(self, owner: str, entry_id: str, body: bytes) -> bool:
        kept = self._find(owner, entry_id)
        return kept is not None and await self.put(replace(kept.entry, body=body))

    async def append(self, owner: str, entry_id: str, items: Sequence[Item]) -> bool:
        kept = self._find(owner, entry_id)
        if kept is None or kept.entry.size + size_of(items) > self.max_conversation_bytes:
            return False
        return await self.put(replace(kept.entry, items=(*kept.entry.items, *items)))

    async def remove_item(self, owner: str, entry_id: str, item_id: str) -> bool:
        kept = self._find(owner, entry_id)
        if kept is None:
            return False
        left = tuple(item for item in kept.entry.items if item.id != item_id)
        return len(left) < len(kept.entry.items) and await self.put(replace(kept.entry, items=left))

    async def delete(self, owner: str, entry_id: str) -> bool:
        found = self._find(owner, entry_id) is not None
        self._drop(owner, entry_id)
        return found

    def drop_owner(self, owner: str) -> None:
        """Drop all entries of `owner`."""
        if (shelf := self._shelves.pop(owner, None)) is not None:
            self.bytes -= shelf.bytes

    async def close(self) -> None:
        self._shelves.clear()
        self.bytes = 0

    def _find(self, owner: str, entry_id: str) -> _Kept | None:
        shelf = self._shelves.get(owner)
        kept = None if shelf is None else shelf.entries.get(entry_id)
        return kept if kept is not None and self._clock() - kept.used_at < self._limits.keep_s else None

    def _use(self, entry: Entry) -> None:
        entries = self._shelves[entry.owner].entries
        kept = entries.pop(entry.id)
        kept.used_at = self._clock()
        entries[entry.id] = kept

    def _add(self, entry: Entry) -> None:
        shelf = self._shelves.setdefault(entry.owner, _Shelf())
        while len(shelf.entries) >= self._limits.max_per_key:
            self._drop_oldest(entry.owner)
        while self.bytes + entry.size > self._limits.max_bytes:
            self._drop_oldest(max(self._shelves, key=lambda owner: self._shelves[owner].bytes))
        shelf = self._shelves.setdefault(entry.owner, shelf)  # Empty owners have been dropped.
        shelf.add(entry, self._clock())
        self.bytes += entry.size

    def _drop_oldest(self, owner: str) -> None:
        self._drop(owner, next(iter(self._shelves[owner].entries)))

    def _drop(self, owner: str, entry_id: str) -> None:
        shelf = self._shelves.get(owner)
        if shelf is None:
            return
        self.bytes -= shelf.drop(entry_id)
        if not shelf.entries:
            del self._shelves[owner]

    def _sweep(self) -> None:
        """Drop expired entries of all owners, now and then."""
        now = self._clock()
        if now - self._swept_at < SWEEP_EVERY_S:
            return
        self._swept_at = now
        for owner, shelf in list(self._shelves.items()):
            old = [name for name, kept in shelf.entries.items() if now - kept.used_at >= self._limits.keep_s]
            for name in old:
                self._drop(owner, name)
