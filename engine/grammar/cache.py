"""Remembers a bounded number of verdicts.

No clock, no event loop. A verdict is final: the same constraint would get it again (`Verdict.is_final`).
"""

from __future__ import annotations

from collections import OrderedDict

from engine.grammar.constraint import Verdict

MAX_VERDICTS = 4096
"""At most some 700 bytes each, most of which is the message of a refusal."""
SLOW_S = 0.1
MAX_SLOW = 8
"""Accepted constraints that take longer than `SLOW_S`. What is remembered here goes to the engine without waiting for
its turn, and the engine keeps twice as many compiled (`engine.vllm.grammars`); so nobody can have it compile many slow
ones at once."""


class VerdictCache:
    """By the constraint's key; the one that was asked for longest ago goes first."""

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
        """Remember a verdict that is final."""
        is_slow = verdict.outcome == "accepted" and verdict.cpu_s > SLOW_S
        verdicts = self._slow if is_slow else self._quick
        verdicts[key] = verdict
        if len(verdicts) > self._limits[id(verdicts)]:
            verdicts.popitem(last=False)
