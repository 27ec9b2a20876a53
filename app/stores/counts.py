"""Counts by name, such as the open connections of an address: of one process, or of several that were forked."""

from __future__ import annotations

import hashlib
import mmap
import secrets
from collections import Counter
from typing import Protocol

HALF = 1 << 15
ROW = 2 * HALF
NUMBER_BYTES = 4


class Counts(Protocol):
    """How many there are of each name."""

    def of(self, name: str) -> int:
        """How many are counted under `name`."""

    def add(self, name: str) -> None:
        """Count one more."""

    def remove(self, name: str) -> None:
        """Count one less. It must have been added by this process."""


class LocalCounts:
    """Implements `Counts` for one process."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def of(self, name: str) -> int:
        return self._counts[name]

    def add(self, name: str) -> None:
        self._counts[name] += 1

    def remove(self, name: str) -> None:
        self._counts[name] -= 1
        if not self._counts[name]:
            del self._counts[name]


class CountTable:
    """Memory in which processes count together. To be made before they are forked.

    Each process writes only its own row, and reads all of them, so there are no locks. A name is counted in two places,
    which a keyed hash picks; of two names that share one place, the other place tells them apart (a count-min sketch:
    Cormode and Muthukrishnan, 2005). A count may be too high if both are shared, and is never too low.
    """

    def __init__(self, processes: int) -> None:
        self._numbers = memoryview(mmap.mmap(-1, processes * ROW * NUMBER_BYTES)).cast("I")
        self._key = secrets.token_bytes(16)

    def row(self, process: int) -> SharedCounts:
        """The counts for the process of that number. Those of an earlier process of that number are dropped."""
        start = process * ROW
        own = self._numbers[start : start + ROW]
        own.cast("B")[:] = bytes(ROW * NUMBER_BYTES)
        return SharedCounts(self._numbers, own, self._key)


class SharedCounts:
    """Implements `Counts` for one of several processes: `of` is what all of them have counted."""

    def __init__(self, numbers: memoryview[int], own: memoryview[int], key: bytes) -> None:
        self._numbers = numbers
        self._own = own
        self._key = key

    def of(self, name: str) -> int:
        return min(sum(self._numbers[place::ROW]) for place in self._places(name))

    def add(self, name: str) -> None:
        for place in self._places(name):
            self._own[place] += 1

    def remove(self, name: str) -> None:
        for place in self._places(name):
            self._own[place] -= 1

    def _places(self, name: str) -> tuple[int, int]:
        digest = hashlib.blake2b(name.encode(), digest_size=4, key=self._key).digest()
        return int.from_bytes(digest[:2]) % HALF, HALF + int.from_bytes(digest[2:]) % HALF
