"""How an embedder shares the processors between the batches that it computes at a time.

Does not know what is computed, nor with which library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MAX_LANES = 16
"""So many batches are computed at a time, each by its part of the processors: for small models that is up to twice as
fast as all processors on one batch after another, because none waits for the others after every step."""


@dataclass(frozen=True, slots=True)
class Processors:
    """What there is to compute with: `use` says how many processors the batch of the calling thread may have."""

    count: int
    lanes: int
    use: Callable[[int], None]

    @property
    def share(self) -> int:
        """The part of one lane where all are busy."""
        return max(1, self.count // self.lanes)


def processors_of(device: str, count: int, use: Callable[[int], None]) -> Processors:
    """Those of a machine with `count` of them. A GPU computes one batch after another by itself."""
    return Processors(count, min(count, MAX_LANES) if device == "cpu" else 1, use)
