"""Sends a channel's frames one at a time, and measures how long the current one has been stuck.

Streams wait for their turn themselves. Only answers to the client's own messages are queued here, up to a limit.
A frame that the socket takes at once is written without a turn; Quart's way to the socket costs ten times as much.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Literal


class Turn(asyncio.Lock):
    """A lock that knows whether somebody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting = 0

    @property
    def is_free(self) -> bool:
        """Nobody has it or is about to: between a release and the next waiter's turn it is not locked."""
        return not self.locked() and not self._waiting

    async def acquire(self) -> Literal[True]:
        self._waiting += 1
        try:
            return await super().acquire()
        finally:
            self._waiting -= 1


class Outbox:
    """Whoever holds `turn` may `send`; `say` takes the turn itself."""

    def __init__(
        self,
        send: Callable[[bytes], Awaitable[None]],
        clock: Callable[[], float],
        write: Callable[[bytes], bool] | None = None,
    ) -> None:
        self.turn = Turn()
        self._send = send
        self._write = write
        self._clock = clock
        self._sending_since: float | None = None
        self._answers: deque[tuple[bytes, Callable[[], None] | None]] = deque()

    async def say(self, frame: bytes) -> None:
        """Send `frame` after those that already wait."""
        if not self.write(frame):
            async with self.turn:
                await self.send(frame)

    async def send(self, frame: bytes) -> None:
        """Send `frame` now; the caller holds the turn."""
        if self._write is not None and self._write(frame):
            return
        self._sending_since = self._clock()
        await self._send(frame)
        self._sending_since = None

    @property
    def can_write(self) -> bool:
        """The socket has a fast path."""
        return self._write is not None

    def write(self, frame: bytes) -> bool:
        """Send `frame` on the fast path. False: it was not sent, because it cannot be now or others come first."""
        return self._write is not None and self.turn.is_free and not self._answers and self._write(frame)

    @property
    def stuck_s(self) -> float:
        """How long the frame that is being sent has waited, in seconds; 0 if there is none."""
        return 0.0 if self._sending_since is None else self._clock() - self._sending_since

    @property
    def answers(self) -> int:
        """How many answers wait."""
        return len(self._answers)

    def keep(self, answer: bytes, tell: Callable[[], None] | None = None) -> None:
        """Queue `answer` for `send_answers`, which calls `tell` when its turn has come."""
        self._answers.append((answer, tell))

    async def send_answers(self) -> None:
        """Send the queued answers until there are none."""
        async with self.turn:
            while self._answers:
                answer, tell = self._answers.popleft()
                if tell is not None:
                    tell()
                await self.send(answer)
