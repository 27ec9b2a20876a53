"""Stands in for the engine's stream while a request waits for a slot.

Reading it waits for the slot, then opens the engine's stream and replaces itself with it: tokens take no detour.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from engine.api import EngineStream, FastPath
from engine.queue.fair_queue import QueueEntry
from protocol.errors import Fault, TwowireError
from protocol.output import Delta


class QueuedStream:
    """`open_stream` opens the engine's stream, and `replace` takes it."""

    cached_tokens = 0
    scheduled_at: float | None = None

    def __init__(
        self,
        entry: QueueEntry,
        open_stream: Callable[[], Awaitable[EngineStream]],
        replace: Callable[[EngineStream], None],
    ) -> None:
        self._entry = entry
        self._open_stream: Callable[[], Awaitable[EngineStream]] | None = open_stream
        """None once it is no longer needed: it holds the prompt, which may be large."""
        self._replace = replace
        self._changed = asyncio.Event()
        self._over = asyncio.Event()
        entry.on_change = self._changed.set

    async def next(self, fast_path: FastPath | None = None) -> list[Delta] | None:
        if self._entry.state == "waiting" and not self._over.is_set():
            await self._changed.wait()
            self._changed.clear()
        return await self._step(fast_path)

    async def _step(self, fast_path: FastPath | None) -> list[Delta] | None:
        if self._over.is_set():
            return None
        if self._entry.state == "waiting":
            return []  # Woken.
        if self._entry.state == "out":
            message = "The queue is full, and this place in it was given to a client that has fewer."
            raise TwowireError(Fault.QUEUE_FULL, message, retry_after_s=1)
        assert self._open_stream is not None
        stream = await self._open_stream()
        self._open_stream = None
        if self._over.is_set():
            await stream.close()
            return None
        self._replace(stream)
        return await stream.next(fast_path)

    def wake(self) -> None:
        self._changed.set()

    async def cancel(self) -> None:
        self._over.set()
        self._open_stream = None
        self._changed.set()

    async def close(self) -> None:
        await self.cancel()
