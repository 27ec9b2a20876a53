"""One answer as a load generator sees it, and what a wire must be able to do.

The answers are counted, not parsed; the first chunk of a chat carries its role, the second its first token.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

PATH = "/v1/chat/completions"
FINISHED = b'"finish_reason":"length"'
BARE_END = b'"delta":{},"logprobs":null,"finish_reason":'
"""In a chunk that holds the reason alone. It is not counted: vLLM's server sends the reason beside the last token."""

TAIL_BYTES = 1024
"""What is kept of a stream's end, in which the reason of its end must stand."""

TOKEN_CHUNK = 2
"""Which chunk of a stream is the first with a token in it."""


class Stream:
    """One answer: when it was asked for, and when its chunks came."""

    __slots__ = ("begun", "chunks", "done", "first_s", "gaps", "last")

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.chunks = 0
        self.first_s: float | None = None
        self.last = 0.0
        self.gaps: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def arrived(self, chunks: int) -> None:
        """So many chunks came at once."""
        now = time.monotonic()
        before, self.chunks = self.chunks, self.chunks + chunks
        if before >= TOKEN_CHUNK:
            self.gaps.append(now - self.last)
        elif self.chunks >= TOKEN_CHUNK:
            self.first_s = now - self.begun
        self.last = now

    def finish(self, tail: bytes) -> None:
        """The answer has ended with `tail`: well if the reason of its end stands there."""
        self.chunks -= BARE_END in tail
        self.end(None if FINISHED in tail else tail.decode("utf-8", "replace"))

    def end(self, error: str | None = None) -> None:
        """The answer has ended, well or not."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(RuntimeError(error))


class Wire(Protocol):
    """A way to ask for chats. `slot` numbers those that run side by side."""

    async def open(self, slots: int, *, at_once: bool = False) -> None:
        """Connect, for as many chats at once; one connection after another, or all `at_once`."""

    def ask(self, slot: int, body: dict[str, Any]) -> Stream:
        """Ask for a chat; the slot's last one has ended."""

    def close(self) -> None:
        """Disconnect."""


async def connect(connections: Sequence[Awaitable[T]], *, at_once: bool) -> list[T]:
    """Connections that are made one after another, or all `at_once`."""
    if at_once:
        return list(await asyncio.gather(*connections))
    return [await connection for connection in connections]


EVENT = b"\ndata: "
"""How an event begins, after the line before it; JSON has no bare line break, and comments are none."""


def events_in(before: bytes, data: bytes) -> int:
    """How many events begin in `data`, or at the end of what came before it."""
    return (before[1 - len(EVENT) :] + data).count(EVENT)
