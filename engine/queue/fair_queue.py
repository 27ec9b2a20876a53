"""Whose turn it is: places in the engine, shared out between clients, so that one that floods gets only its share.

Does not know what runs in a place, nor what waits for one. No clock, no event loop.

A free place goes to the waiting client that holds the fewest; among equals, to the one that was served longest ago; and
within a client, to the request that came first. A request that wants several places begins as soon as one is free: it
must not wait for ever, nor leave places empty. What it takes beyond that is counted, so that its client waits longer
for the next. The queue has an end; who has fewer places in it than another pushes that other's newest out.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Literal


class Turn:
    """One request: `runs`, `waits`, or is `out` (it was pushed out, or has given its place back)."""

    def __init__(self, client: str, places: int) -> None:
        self.client = client
        self.places = places
        self.state: Literal["waits", "runs", "out"] = "waits"
        self.tell: Callable[[], None] = _nobody
        """Called when a turn that waited begins to run, or is pushed out."""


def _nobody() -> None:
    pass


class Turns:
    """`running` places, of which one client may hold `per_client`; `queued` more in the queue."""

    def __init__(self, running: int, queued: int, per_client: int | None = None) -> None:
        self.limit = running + queued
        self._running_limit = running
        self._queued_limit = queued
        self._per_client = running if per_client is None else min(per_client, running)
        self.running = 0
        self.waiting = 0
        self._held: Counter[str] = Counter()
        """Places that run, by client; those who have none are not in it."""
        self._waits: Counter[str] = Counter()
        """Places that are waited for, by client."""
        self._queues: dict[str, deque[Turn]] = {}
        """In the order in which their clients were served: the one that was served longest ago is first."""

    @property
    def places(self) -> int:
        """Places that run or wait."""
        return self.running + self.waiting

    def has_room(self, client: str, places: int) -> bool:
        """Whether `take` would give a turn now, be it by pushing others out."""
        return self._victims(client, places) is not None

    def take(self, client: str, places: int) -> Turn | None:
        """A turn that runs or waits; None where there is no room."""
        victims = self._victims(client, places)
        if victims is None:
            return None
        for victim in victims:
            self._remove(victim)
            victim.state = "out"
            victim.tell()
        turn = Turn(client, places)
        if self._may_run(client):
            self._run(turn)
        else:
            self.waiting += places
            self._waits[client] += places
            self._queues.setdefault(client, deque()).append(turn)
        return turn

    def give_back(self, turn: Turn) -> None:
        """The turn is over, whether it ran or waited; may be called twice. The next is told."""
        if turn.state == "waits":
            self._remove(turn)
        elif turn.state == "runs":
            self.running -= turn.places
            self._held[turn.client] -= turn.places
            if not self._held[turn.client]:
                del self._held[turn.client]
        turn.state = "out"
        while (following := self._next()) is not None:
            self._remove(following)
            self._run(following)
            following.tell()

    def _fits(self, client: str, places: int, spare: int = 0) -> bool:
        """There is room for so many places more, where `spare` of those that wait were not."""
        if self.places - spare + places > self.limit:
            return False
        return self._may_run(client) or self.waiting - spare + places <= self._queued_limit

    def _may_run(self, client: str) -> bool:
        # Then none of the client's waits: it would have begun when the place became free.
        return self.running < self._running_limit and self._held[client] < self._per_client

    def _run(self, turn: Turn) -> None:
        self.running += turn.places
        self._held[turn.client] += turn.places
        turn.state = "runs"
        if (queue := self._queues.pop(turn.client, None)) is not None:
            # Served just now: the last among its equals.
            self._queues[turn.client] = queue

    def _next(self) -> Turn | None:
        able = [client for client in self._queues if self._may_run(client)]
        if not able:
            return None
        return self._queues[min(able, key=lambda client: self._held[client])][0]

    def _remove(self, turn: Turn) -> None:
        queue = self._queues[turn.client]
        queue.remove(turn)
        self.waiting -= turn.places
        self._waits[turn.client] -= turn.places
        if not queue:
            del self._queues[turn.client]
            del self._waits[turn.client]

    def _victims(self, client: str, places: int) -> list[Turn] | None:
        """Who is pushed out to make room for `places` of `client`: the newest of clients that would have more in the
        queue than it. Nobody, where there is room; None, where that does not help."""
        victims: list[Turn] = []
        spare = 0
        waits = dict(self._waits)
        own = waits.pop(client, 0) + places
        pushed: Counter[str] = Counter()
        while not self._fits(client, places, spare):
            longest = max(waits, key=lambda name: waits[name], default=None)
            if longest is None or waits[longest] <= own:
                return None
            pushed[longest] += 1
            victim = self._queues[longest][-pushed[longest]]
            waits[longest] -= victim.places
            spare += victim.places
            victims.append(victim)
        return victims
