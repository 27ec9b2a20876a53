"""The soak's books: what each client asked and saw, held against the server's log and its sums in `/metrics`.

A client writes down all ends that fit what it saw: one that leaves while its answer is being made cannot know whether
the engine died at that moment. None among them: the server may never have heard of it.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

Fate = Literal["completed", "cancelled", "detached", "refused", "failed", "timed_out"]
FATES: tuple[Fate, ...] = ("completed", "cancelled", "detached", "refused", "failed", "timed_out")
BUSY_S = 3.0
"""A client that took longer than this to leave may have been sent everything: its machine is busy."""


@dataclass
class Ask:
    """One request, or one message of a channel, and the ends that fit what its client saw."""

    id: str
    kind: str
    wire: str
    began_at: float
    fates: frozenset[Fate | None] = frozenset()
    tokens: int | None = None
    ended_at: float | None = None
    told: Fate | None = None
    """How the server says that it ended."""


@dataclass
class Window:
    """A time in which the engine may be gone: from its kill until it serves again."""

    began_at: float
    ended_at: float = float("inf")

    def meets(self, began_at: float, ended_at: float) -> bool:
        return began_at <= self.ended_at and ended_at >= self.began_at


@dataclass
class Ledger:
    """All asks of a soak. `problems` is what went wrong, in words."""

    asks: dict[str, Ask] = field(default_factory=dict)
    windows: list[Window] = field(default_factory=list)
    nameless: int = 0
    """Messages that could carry no id, and were refused."""
    _problems: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def ask(self, kind: str, wire: str, begun: Ask | None = None) -> Ask:
        """A new request, about to be sent under its `id`; `begun` is the request whose generation it returns to."""
        # A generation that died with the engine fails its later readers, too.
        began_at = time.monotonic() if begun is None else begun.began_at
        ask = Ask(f"soak-{next(self._numbers)}", kind, wire, began_at)
        self.asks[ask.id] = ask
        return ask

    def end(self, ask: Ask, saw: Iterable[Fate | None], meant: Iterable[Fate | None], why: object = "") -> None:
        """It is over: `saw` fits what the client saw, and `meant` is what it was out for while the engine lives."""
        ask.ended_at = time.monotonic()
        ask.fates = frozenset(saw)
        if self.in_trouble(ask):
            if ask.fates & {"cancelled", "detached"}:
                # It had left, or was leaving, when the engine died.
                ask.fates |= {"failed", "refused"}
        elif not ask.fates <= frozenset(meant):
            self.problem(f"{ask.kind}: saw {_words(ask.fates)}, was out for {_words(meant)}", f"{ask.id} {why}")

    def leave(self, ask: Ask, fates: frozenset[Fate | None]) -> None:
        """Its client left. `fates` fit; so does `completed` if it took so long that the server may have been done."""
        if time.monotonic() - ask.began_at > BUSY_S:
            fates |= {"completed"}
        self.end(ask, fates, fates)

    def in_trouble(self, ask: Ask) -> bool:
        """The engine was gone, or going, during it."""
        ended_at = ask.ended_at or time.monotonic()
        return any(window.meets(ask.began_at, ended_at) for window in self.windows)

    def problem(self, what: str, detail: object = "") -> None:
        """Write down something that must not be."""
        self._problems[what].append(str(detail)[:300])

    @property
    def problems(self) -> list[str]:
        """One line each, the frequent ones folded."""
        return [f"{what} ({len(details)} times, first: {details[0]})" for what, details in self._problems.items()]

    # -- against the server --------------------------------------------------------------------------------------

    def check(self, lines: list[dict[str, Any]], counted: Counter[tuple[str, str]]) -> None:
        """Hold all asks against the log's `lines` of requests, and those against what `/metrics` `counted`."""
        by_id: dict[str, list[dict[str, Any]]] = defaultdict(list)
        nameless = 0
        logged: Counter[tuple[str, str]] = Counter()
        for line in lines:
            logged[line["wire"], line["outcome"]] += 1
            name = line.get("event_id") if "frame" in line else line["request_id"]
            if name in self.asks:
                by_id[name].append(line)
            else:
                nameless += 1
        if nameless != self.nameless:
            self.problem(f"{nameless} lines of the log belong to no request of ours; it should be {self.nameless}")
        if logged != counted:
            self.problem("the log and /metrics do not agree", f"log {logged - counted}, metrics {counted - logged}")
        for ask in self.asks.values():
            self._check_ask(ask, by_id[ask.id])
        for fate, (least, server, most) in self.sums(counted).items():
            if not least <= server <= most:
                self.problem(f"{fate}: /metrics says {server}, the clients {least} to {most}")

    def _check_ask(self, ask: Ask, lines: list[dict[str, Any]]) -> None:
        if ask.ended_at is None:
            self.problem(f"{ask.kind}: a request has had no end", ask.id)
            return
        if len(lines) > 1:
            self.problem(f"{ask.kind}: more than one line of the log", lines)
        told = ask.told = lines[0]["outcome"] if lines else None
        if told not in ask.fates:
            what = f"{ask.kind}: the server says {told}, the client saw {_words(ask.fates)}"
            self.problem(what, lines[0] if lines else ask.id)
        elif lines and lines[0]["wire"] != ask.wire:
            self.problem(f"{ask.kind}: logged as {lines[0]['wire']}", ask.id)
        elif lines and ask.tokens is not None and lines[0].get("completion_tokens") != ask.tokens:
            self.problem(f"{ask.kind}: the log has other tokens than the client's {ask.tokens}", lines[0])

    def sums(self, counted: Counter[tuple[str, str]]) -> dict[Fate, tuple[int, int, int]]:
        """For each end: at least how many the clients saw, how many the server counted, at most how many they saw."""
        table = {}
        for fate in FATES:
            sure = sum(ask.fates == {fate} for ask in self.asks.values())
            maybe = sum(fate in ask.fates for ask in self.asks.values())
            extra = self.nameless if fate == "refused" else 0
            server = sum(count for (_, its), count in counted.items() if its == fate)
            table[fate] = (sure + extra, server, maybe + extra)
        return table

    def by_kind(self) -> dict[str, Counter[str]]:
        """How many of each kind ended how, as the server says it."""
        table: dict[str, Counter[str]] = defaultdict(Counter)
        for ask in self.asks.values():
            table[ask.kind][ask.told or "unheard"] += 1
        return dict(sorted(table.items()))


def _words(fates: Iterable[Fate | None]) -> str:
    return " or ".join(sorted("nothing of it" if fate is None else fate for fate in fates)) or "nothing"
