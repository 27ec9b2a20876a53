"""Remembers a bounded number of final verdicts (`Verdict.is_final`)."""

from __future__ import annotations

from collections import OrderedDict

from engine.grammar.constraint import Verdict

MAX_VERDICTS = 4096
"""About 700 bytes each at most, mostly the message of a refusal."""
SLOW_S = 0.1
MAX_SLOW = 8
"""Accepted constraints that take longer than `SLOW_S`. Remembered ones go to the engine without queueing, and it keeps
twice as many compiled (`engine.vllm.grammars`): so nobody can make it compile many slow ones at once."""


class VerdictCache:
    """Verdicts by the constraint's key. The least recently used is dropped first."""

    def __init__(self, max_verdicts: int = MAX_VERDICTS, max_slow: int = MAX_SLOW) -> None:
        self._quick: OrderedDict[bytes, Verdict] = OrderedDict()
        self._slow: OrderedDict[bytes, Verdict] = OrderedDict()
        self._limits = {id(self._quick): max_verdicts, id(self._slow): max_slow}

    def __len__(self) -> int:
        return len(self._quick) + len(self._slow)

    def get(self, key: bytes) -> Verdict | None:
        """The verdict, if it is remembered."""
        for verdicts in (self._quick, self._slow):
            if key in verdicts:
                verdicts.move_to_end(key)
                return verdicts[key]
        return None

    def put(self, key: bytes, verdict: Verdict) -> None:
        """Remember a final verdict."""
        is_slow = verdict.outcome == "accepted" and verdict.cpu_s > SLOW_S
        verdicts = self._slow if is_slow else self._quick
        verdicts[key] = verdict
        if len(verdicts) > self._limits[id(verdicts)]:
            verdicts.popitem(last=False)
