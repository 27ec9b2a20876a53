"""The store's interface: tickets, rate limits, and where resumable generations run.

Everything a server over the network needs to implement it is in the arguments: keys are strings, values are bytes, no
call takes a callback, and whatever must be atomic is one call. `MemoryStore` keeps all of it in this process.

A request awaits the store a few times. A token never does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class Group:
    """Keys of which only the newest `max_keys` are kept."""

    name: str
    max_keys: int


class Draw(NamedTuple):
    """What one call does with one token bucket, which holds `per_minute` tokens and refills as many each minute."""

    key: str
    per_minute: int
    needed: float = -math.inf
    """The call is refused unless the bucket holds this much."""
    amount: float = 0.0
    """Taken at once if the call is granted; gives back what is negative, up to a full bucket."""
    used: float = 0.0
    """Taken even if the call is refused: already used, evenly over the last `used_over_s` seconds."""
    used_over_s: float = 0.0


class Drawn(NamedTuple):
    """The result of a call. Levels are in the order of its draws; a bucket that is overdrawn has a negative one."""

    is_granted: bool
    levels: tuple[float, ...]


class Store(Protocol):
    """Shared state. Each method is atomic."""

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None, group: Group | None = None) -> None:
        """Keep `value` for `ttl_s` seconds, or until deleted. If `group` is full, its oldest keys are deleted."""

    async def get(self, key: str) -> bytes | None:
        """The value of `key`; None if it was never put, was deleted, or has expired."""

    async def pop(self, key: str) -> bytes | None:
        """Get and delete, so that of several callers only one gets the value."""

    async def delete(self, key: str) -> None:
        """Delete `key` if it is there."""

    async def draw(self, draws: Sequence[Draw]) -> Drawn:
        """Draw from several buckets, from all of them or from none. A bucket not seen before is full."""
