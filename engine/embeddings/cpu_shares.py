"""Divides the processors between the batches that the embedder computes at the same time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MAX_LANES = 16
"""Batches computed at the same time, each with its share of the processors. For small models that is up to twice as
fast as one batch after another on all processors, because threads need not wait for each other after every step."""


@dataclass(frozen=True, slots=True)
class Processors:
    """`use` sets how many of the `count` processors the calling thread's batch may use."""

    count: int
    lanes: int
    use: Callable[[int], None]

    @property
    def share(self) -> int:
        """The processors of one lane when all lanes are busy."""
        return max(1, self.count // self.lanes)


def processors_of(device: str, count: int, use: Callable[[int], None]) -> Processors:
    """The processors of a machine with `count` of them. A GPU has one lane: it runs batches in parallel by itself."""
    return Processors(count, min(count, MAX_LANES) if device == "cpu" else 1, use)
