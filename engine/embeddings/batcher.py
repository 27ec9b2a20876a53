"""Which texts are computed next, and which of them together: fair between clients, and little padding.

Does not know how a text is computed, nor threads. The life of a text: it is added; it is drawn when it is its client's
turn; a round of drawn texts is cut into batches of similar length; the batches are handed out, the shortest first.

Turns are by tokens (self-clocked fair queueing, Golestani, 1994): each client has a clock that runs by what it was
given; the one whose next text ends first by its own clock is next. A client that comes back after a rest starts with
the others, so that nobody saves up turns. The requests of one client take turns in the same way.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

ROUND_BATCHES = 2
"""Full batches that are drawn at once: more means less padding, and a longer wait for who comes next."""
START_COST = 16
"""To begin a batch costs as much as this part of a full one; where more would be padded, another one is begun."""
MAX_RESTING = 4096
"""Clients whose clocks are kept; beyond it, those that have nothing here are forgotten."""


@dataclass(slots=True)
class Text(Generic[T]):
    """One text to compute. Only texts of one `group` may be computed together."""

    request: str
    group: Hashable
    length: int
    item: T


class _Queue(Generic[T]):
    """The texts of one request, on its clock."""

    def __init__(self, clock: float) -> None:
        self.clock = clock
        self.texts: deque[Text[T]] = deque()

    def peek(self) -> Text[T] | None:
        """What comes next."""
        return self.texts[0] if self.texts else None

    def pop(self) -> Text[T]:
        """Take what comes next."""
        return self.texts.popleft()


class _Turns(Generic[T]):
    """The requests of one client, on its clock, with a turn for each of them."""

    def __init__(self, clock: float) -> None:
        self.clock = clock
        self.queues: dict[str, _Queue[T]] = {}
        self._now = 0.0
        self._order: list[tuple[float, int, str]] = []
        self._number = itertools.count()

    def add(self, text: Text[T]) -> None:
        queue = self.queues.get(text.request)
        if queue is None:
            queue = self.queues[text.request] = _Queue(self._now)
            queue.texts.append(text)
            self._stand_in_line(queue, text)
        else:
            queue.texts.append(text)

    def _stand_in_line(self, queue: _Queue[T], text: Text[T]) -> None:
        heapq.heappush(self._order, (queue.clock + text.length, next(self._number), text.request))

    def peek(self) -> Text[T] | None:
        while self._order:
            name = self._order[0][2]
            if text := self.queues[name].peek():
                return text
            # It was cancelled.
            heapq.heappop(self._order)
            del self.queues[name]
        return None

    def pop(self) -> Text[T]:
        self.peek()
        end, _, name = heapq.heappop(self._order)
        queue = self.queues[name]
        text = queue.pop()
        self._now = queue.clock = end
        if following := queue.peek():
            self._stand_in_line(queue, following)
        else:
            del self.queues[name]
        return text


class Batches(Generic[T]):
    """See the module. `batch_tokens` bounds a batch, padding counted; a longer text is a batch of its own."""

    def __init__(self, batch_tokens: int) -> None:
        self._batch_tokens = batch_tokens
        self._clients: dict[str, _Turns[T]] = {}
        self._order: list[tuple[float, int, str]] = []
        self._number = itertools.count()
        self._now = 0.0
        self._planned: deque[list[Text[T]]] = deque()

    def add(self, client: str, texts: Iterable[Text[T]]) -> None:
        """Put texts of a client's in the queue, each behind those of its own request."""
        turns = self._clients.get(client)
        if turns is None:
            self._drop_resting()
            turns = self._clients[client] = _Turns(self._now)
        was_resting = not turns.queues
        for text in texts:
            turns.add(text)
        if was_resting:
            turns.clock = max(turns.clock, self._now)
            self._stand_in_line(client, turns)

    def _stand_in_line(self, client: str, turns: _Turns[T]) -> None:
        if text := turns.peek():
            heapq.heappush(self._order, (turns.clock + text.length, next(self._number), client))

    def cancel(self, client: str, request: str) -> None:
        """Forget what is left of a request."""
        turns = self._clients.get(client)
        if turns is not None and request in turns.queues:
            turns.queues[request].texts.clear()
        for batch in self._planned:
            batch[:] = [text for text in batch if text.request != request]

    @property
    def is_empty(self) -> bool:
        """Nothing waits. It may be said that something does where that was cancelled."""
        return not self._planned and not self._order

    def next(self) -> list[Text[T]]:
        """What to compute now; nothing where there is nothing to do."""
        while True:
            while self._planned:
                if batch := self._planned.popleft():
                    return batch
            drawn = self._draw()
            if not drawn:
                return []
            self._planned.extend(planned(drawn, self._batch_tokens))

    def _draw(self) -> list[Text[T]]:
        drawn: list[Text[T]] = []
        tokens = 0
        while self._order and tokens < ROUND_BATCHES * self._batch_tokens:
            end, _, client = heapq.heappop(self._order)
            turns = self._clients[client]
            if turns.peek() is None:
                continue
            text = turns.pop()
            drawn.append(text)
            tokens += text.length
            self._now = max(self._now, end)
            turns.clock += text.length
            self._stand_in_line(client, turns)
        return drawn

    def _drop_resting(self) -> None:
        if len(self._clients) > MAX_RESTING:
            for client in [one for one, turns in self._clients.items() if not turns.queues]:
                del self._clients[client]


def planned(texts: list[Text[T]], batch_tokens: int) -> list[list[Text[T]]]:
    """`texts` in batches of similar length, the shortest first."""
    batches: list[list[Text[T]]] = []
    groups: dict[Hashable, list[Text[T]]] = {}
    for text in texts:
        groups.setdefault(text.group, []).append(text)
    for group in groups.values():
        group.sort(key=lambda text: -text.length)
        batch: list[Text[T]] = []
        padding = 0
        for text in group:
            if batch:
                longest = batch[0].length
                padding += longest - text.length
                is_full = (len(batch) + 1) * longest > batch_tokens
                if is_full or padding * START_COST > batch_tokens:
                    batches.append(batch)
                    batch, padding = [], 0
            batch.append(text)
        batches.append(batch)
    return sorted(batches, key=lambda batch: len(batch) * batch[0].length)
