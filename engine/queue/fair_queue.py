"""Shares a fixed number of slots between clients, so that one that floods gets no more than its share.

No clock, no event loop. A free slot goes to the waiting client that holds the fewest; among equals, to the one served
longest ago; within a client, to its oldest request. Priorities come before all this: the lowest runs first. A request
for several slots starts as soon as one is free, because it must neither starve nor leave slots empty; the extra ones
count against its client. The queue is bounded: a client with fewer slots in it than another pushes out that other's
last request.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable
from typing import Literal


class QueueEntry:
    """One request for slots. It is `out` once it was pushed out or has left."""

    def __init__(self, client: str, slots: int, label: str = "", priority: int = 0, media_bytes: int = 0) -> None:
        self.client = client
        self.priority = priority
        self.slots = slots
        self.label = label
        self.media_bytes = media_bytes
        self.state: Literal["waiting", "running", "out"] = "waiting"
        self.on_change: Callable[[], None] = _ignore
        """Called when an entry that waited starts to run or is pushed out."""


def _ignore() -> None:
    pass


class FairQueue:
    """`running` slots, of which one client may hold `per_client`; `queued` more may be waited for."""

    def __init__(self, running: int, queued: int, per_client: int | None = None) -> None:
        self.limit = running + queued
        self._running_limit = running
        self._queued_limit = queued
        self._per_client = running if per_client is None else min(per_client, running)
        self.running = 0
        """Slots in use."""
        self.waiting = 0
        """Slots waited for."""
        self.waiting_media = 0
        """The bytes of images that wait with them."""
        self._held: Counter[str] = Counter()
        """Slots in use, by client; clients without any are left out."""
        self._waits: Counter[str] = Counter()
        """Slots waited for, by client."""
        self._queues: dict[str, deque[QueueEntry]] = {}
        """By client, the one served longest ago first."""

    @property
    def slots(self) -> int:
        """Slots in use or waited for."""
        return self.running + self.waiting

    def has_room(self, client: str, slots: int) -> bool:
        """Whether `enter` would succeed now, if need be by pushing others out."""
        return self._victims(client, slots) is not None

    def would_wait(self, client: str) -> bool:
        """Whether an entry that `enter` makes now does not run at once."""
        return not self._may_run(client)

    def enter(
        self, client: str, slots: int, label: str = "", priority: int = 0, media_bytes: int = 0
    ) -> QueueEntry | None:
        """An entry that runs or waits; None if there is no room. `label` is the caller's, to tell entries apart.

        `media_bytes` are counted while it waits.
        """
        victims = self._victims(client, slots)
        if victims is None:
            return None
        for victim in victims:
            self._remove(victim)
            victim.state = "out"
            victim.on_change()
        entry = QueueEntry(client, slots, label, priority, media_bytes)
        if self._may_run(client):
            self._run(entry)
        else:
            self.waiting += slots
            self.waiting_media += media_bytes
            self._waits[client] += slots
            _insert(self._queues.setdefault(client, deque()), entry)
        return entry

    def leave(self, entry: QueueEntry) -> None:
        """End an entry, running or waiting, and start the next ones. May be called twice."""
        if entry.state == "waiting":
            self._remove(entry)
        elif entry.state == "running":
            self.running -= entry.slots
            self._held[entry.client] -= entry.slots
            if not self._held[entry.client]:
                del self._held[entry.client]
        entry.state = "out"
        while (following := self._next()) is not None:
            self._remove(following)
            self._run(following)
            following.on_change()

    def order(self) -> list[QueueEntry]:
        """The entries that wait, in the order in which they start if nobody comes or leaves and all that run go on.

        An estimate: which client's requests end first is not known.
        """
        turns = [
            (queue[0].priority, self._held[client], number, client, deque(queue))
            for number, (client, queue) in enumerate(self._queues.items())
        ]
        heapq.heapify(turns)
        found: list[QueueEntry] = []
        next_number = len(turns)
        while turns:
            _, held, _, client, waiting = turns[0]
            entry = waiting.popleft()
            found.append(entry)
            if not waiting:
                heapq.heappop(turns)
                continue
            # Just served, so last among its equals.
            heapq.heapreplace(turns, (waiting[0].priority, held + entry.slots, next_number, client, waiting))
            next_number += 1
        return found

    def _fits(self, client: str, slots: int, freed: int = 0) -> bool:
        """Whether there is room for `slots` more, if `freed` of those waited for were gone."""
        if self.slots - freed + slots > self.limit:
            return False
        return self._may_run(client) or self.waiting - freed + slots <= self._queued_limit

    def _may_run(self, client: str) -> bool:
        # If so, no request of the client waits: it would have started when the slot became free.
        return self.running < self._running_limit and self._held[client] < self._per_client

    def _run(self, entry: QueueEntry) -> None:
        self.running += entry.slots
        self._held[entry.client] += entry.slots
        entry.state = "running"
        if (queue := self._queues.pop(entry.client, None)) is not None:
            # Just served, so last among its equals.
            self._queues[entry.client] = queue

    def _next(self) -> QueueEntry | None:
        able = [client for client in self._queues if self._may_run(client)]
        if not able:
            return None
        return self._queues[min(able, key=lambda client: (self._queues[client][0].priority, self._held[client]))][0]

    def _remove(self, entry: QueueEntry) -> None:
        queue = self._queues[entry.client]
        queue.remove(entry)
        self.waiting -= entry.slots
        self.waiting_media -= entry.media_bytes
        self._waits[entry.client] -= entry.slots
        if not queue:
            del self._queues[entry.client]
            del self._waits[entry.client]

    def _victims(self, client: str, slots: int) -> list[QueueEntry] | None:
        """The entries to push out to make room for `slots` of `client`: the newest of those clients that would have
        more in the queue than it. Empty if there is room; None if pushing out does not help."""
        victims: list[QueueEntry] = []
        freed = 0
        waits = dict(self._waits)
        own = waits.pop(client, 0) + slots
        pushed: Counter[str] = Counter()
        while not self._fits(client, slots, freed):
            longest = max(waits, key=lambda name: waits[name], default=None)
            if longest is None or waits[longest] <= own:
                return None
            pushed[longest] += 1
            victim = self._queues[longest][-pushed[longest]]
            waits[longest] -= victim.slots
            freed += victim.slots
            victims.append(victim)
        return victims


def _insert(queue: deque[QueueEntry], entry: QueueEntry) -> None:
    """Put `entry` behind those of its priority."""
    if not queue or queue[-1].priority <= entry.priority:
        queue.append(entry)
        return
    behind = next(at for at, other in enumerate(queue) if other.priority > entry.priority)
    queue.insert(behind, entry)
