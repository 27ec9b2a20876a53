"""The store of a server that shares nothing: dictionaries. Its methods never suspend."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from app.stores.base import Draw, Drawn
from app.stores.token_bucket import TokenBucket

FIRST_SWEEP = 1024
"""From this many buckets on, full ones are dropped from time to time: a bucket not seen before is full as well."""


class _Entry(NamedTuple):
    value: bytes
    ttl_s: float | None
    expires_at: float


class MemoryStore:
    """Implements `app.stores.base.Store` in this process."""

    is_shared = False

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        # With the same time to live, keys expire in the order in which they were put. There are few such times.
        self._by_ttl: dict[float, dict[str, None]] = {}
        self._buckets: dict[str, TokenBucket] = {}
        self._sweep_at = FIRST_SWEEP

    def __len__(self) -> int:
        """Values and buckets held."""
        return len(self._entries) + len(self._buckets)

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        now = self._clock()
        self._drop_expired(now)
        self._drop(key)
        if ttl_s is not None:
            self._by_ttl.setdefault(ttl_s, {})[key] = None
        self._entries[key] = _Entry(value, ttl_s, float("inf") if ttl_s is None else now + ttl_s)

    async def get(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        return entry.value if entry is not None and self._clock() < entry.expires_at else None

    async def delete(self, key: str) -> None:
        self._drop(key)

    async def claim(self, key: str, ttl_s: float) -> bool:
        if await self.get(key) is not None:
            return False
        await self.put(key, b"", ttl_s=ttl_s)
        return True

    def start(self) -> None:
        pass

    async def close(self) -> None:
        self._entries.clear()
        self._by_ttl.clear()
        self._buckets.clear()

    def _drop_expired(self, now: float) -> None:
        for keys in list(self._by_ttl.values()):
            while keys and self._entries[oldest := next(iter(keys))].expires_at <= now:
                self._drop(oldest)

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None and entry.ttl_s is not None:
            keys = self._by_ttl[entry.ttl_s]
            del keys[key]
            if not keys:
                del self._by_ttl[entry.ttl_s]

    async def draw(self, draws: Sequence[Draw]) -> Drawn:
        now = self._clock()
        if len(self._buckets) >= self._sweep_at:
            self._buckets = {key: kept for key, kept in self._buckets.items() if kept.level(now) < kept.per_minute}
            self._sweep_at = max(FIRST_SWEEP, 2 * len(self._buckets))
        levels, is_granted = [], True
        for draw in draws:
            bucket = self._bucket(draw, now)
            if draw.used:
                bucket.take_evenly(draw.used, now, draw.used_over_s)
            level = bucket.level(now)
            levels.append(level)
            if level < draw.needed:
                is_granted = False
        if is_granted:
            for index, draw in enumerate(draws):
                if draw.amount:
                    levels[index] = self._buckets[draw.key].take(draw.amount, now)
        return Drawn(is_granted, tuple(levels))

    def _bucket(self, draw: Draw, now: float) -> TokenBucket:
        bucket = self._buckets.get(draw.key)
        if bucket is None:
            bucket = self._buckets[draw.key] = TokenBucket(draw.per_minute, now - draw.used_over_s)
        return bucket
