"""Chooses the texts to compute next, and groups them into batches: fair between clients, with little padding.

A text is added, and drawn when its client is next; a round of drawn texts is cut into batches of similar length; these
are handed out, the shortest first. Not thread-safe.

Fairness is by tokens (self-clocked fair queueing, Golestani, 1994): each client has a clock that advances by the tokens
it was served; next is the client whose next text would end first by its own clock. A client that was idle starts level
with the others, so nobody saves up time. The requests of one client share its time in the same way.
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
"""Full batches drawn at once: more of them means less padding, but a longer wait for new texts."""
START_COST = 16
"""Starting a batch costs 1/16 of a full one. Once padding would cost more, another batch is started."""
MAX_IDLE = 4096
"""Clients whose clocks are kept. Beyond that, clients without texts are forgotten."""


@dataclass(slots=True)
class Text(Generic[T]):
    """One text to compute. Only texts of one `group` may be computed together."""

    request: str
    group: Hashable
    length: int
    item: T


class _RequestQueue(Generic[T]):
    """The texts of one request, and its clock."""

    def __init__(self, clock: float) -> None:
        self.clock = clock
        self.texts: deque[Text[T]] = deque()

    def peek(self) -> Text[T] | None:
        """The next text, if there is one."""
        return self.texts[0] if self.texts else None

    def pop(self) -> Text[T]:
        """Remove the next text."""
        return self.texts.popleft()


class _ClientQueue(Generic[T]):
    """The requests of one client, and its clock."""

    def __init__(self, clock: float) -> None:
        self.clock = clock
        self.queues: dict[str, _RequestQueue[T]] = {}
        self._now = 0.0
        self._order: list[tuple[float, int, str]] = []
        self._number = itertools.count()

    def add(self, text: Text[T]) -> None:
        queue = self.queues.get(text.request)
        if queue is None:
            queue = self.queues[text.request] = _RequestQueue(self._now)
            queue.texts.append(text)
            self._schedule(queue, text)
        else:
            queue.texts.append(text)

    def _schedule(self, queue: _RequestQueue[T], text: Text[T]) -> None:
        heapq.heappush(self._order, (queue.clock + text.length, next(self._number), text.request))

    def peek(self) -> Text[T] | None:
        while self._order:
            name = self._order[0][2]
            if text := self.queues[name].peek():
                return text
            # The request was cancelled.
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
            self._schedule(queue, following)
        else:
            del self.queues[name]
        return text


class Batcher(Generic[T]):
    """`batch_tokens` bounds a batch, padding included; a longer text is a batch of its own."""

    def __init__(self, batch_tokens: int) -> None:
        self._batch_tokens = batch_tokens
        self._clients: dict[str, _ClientQueue[T]] = {}
        self._order: list[tuple[float, int, str]] = []
        self._number = itertools.count()
        self._now = 0.0
        self._planned: deque[list[Text[T]]] = deque()

    def add(self, client: str, texts: Iterable[Text[T]]) -> None:
        """Queue texts of a client, each behind the earlier texts of its request."""
        queue = self._clients.get(client)
        if queue is None:
            self._drop_idle()
            queue = self._clients[client] = _ClientQueue(self._now)
        was_idle = not queue.queues
        for text in texts:
            queue.add(text)
        if was_idle:
            queue.clock = max(queue.clock, self._now)
            self._schedule(client, queue)

    def _schedule(self, client: str, queue: _ClientQueue[T]) -> None:
        if text := queue.peek():
            heapq.heappush(self._order, (queue.clock + text.length, next(self._number), client))

    def cancel(self, client: str, request: str) -> None:
        """Drop what is left of a request."""
        queue = self._clients.get(client)
        if queue is not None and request in queue.queues:
            queue.queues[request].texts.clear()
        for batch in self._planned:
            batch[:] = [text for text in batch if text.request != request]

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits. May be False although all that waits was cancelled."""
        return not self._planned and not self._order

    def next(self) -> list[Text[T]]:
        """The next batch; empty if nothing waits."""
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
            queue = self._clients[client]
            if queue.peek() is None:
                continue
            text = queue.pop()
            drawn.append(text)
            tokens += text.length
            self._now = max(self._now, end)
            queue.clock += text.length
            self._schedule(client, queue)
        return drawn

    def _drop_idle(self) -> None:
        if len(self._clients) > MAX_IDLE:
            for client in [one for one, queue in self._clients.items() if not queue.queues]:
                del self._clients[client]


def planned(texts: list[Text[T]], batch_tokens: int) -> list[list[Text[T]]]:
    """Cut `texts` into batches of similar length, the shortest first."""
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
