"""Counts compiles for the metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from engine.grammar.constraint import Outcome, Verdict


@dataclass(slots=True)
class GrammarFigures:
    """Sums since the server started."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    cpu_s: float = 0.0
    hits: int = 0
    """Requests whose constraint was compiled before."""

    def compiled(self, verdict: Verdict) -> None:
        """Count a finished compile."""
        self.outcomes[verdict.outcome] += 1
        self.cpu_s += verdict.cpu_s
