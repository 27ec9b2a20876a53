"""A follower's side of a shared engine: joins it, and leaves it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import orjson

from engine.sharing.meeting import Addresses, Place, step_lines, steps_in, unless_gone

T = TypeVar("T")


class Follower:
    """Uses the leader's engine, for its life. Made by `join`."""

    def __init__(self, addresses: Addresses, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.addresses = addresses
        self._steps: Sequence[int] = ()
        self._writer = writer
        self._gone = asyncio.create_task(self._listen(reader))
        self._reporting: asyncio.Task[None] | None = None

    @classmethod
    async def join(cls, place: Place) -> Follower:
        """Wait until the leader has an engine."""
        while True:
            reader, writer = await asyncio.open_unix_connection(place.meeting.path)
            try:
                writer.write(b"%d\n" % place.index)
                if line := await reader.readline():
                    writer.write(b"joined\n")
                    return cls(orjson.loads(line), reader, writer)
            except BaseException:
                writer.close()
                raise
            writer.close()

    async def while_there(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`. Cancels it and raises `RuntimeError` if the engine goes first."""
        return await unless_gone(work, self.wait_gone())

    def ready(self, steps: Callable[[], Sequence[int]]) -> None:
        """Report that this API server can generate; from now on report `steps()`, by rank, which it has seen."""
        self._send(b"ready\n")
        self._reporting = asyncio.create_task(self._report_steps(steps))

    def steps_of(self, rank: int) -> int:
        """Steps that a rank has taken, for any API server; at most half a second old."""
        return self._steps[rank] if self._steps else 0

    def kill(self) -> None:
        """Have the leader end the engine as a crash would."""
        self._send(b"kill\n")

    async def wait_gone(self) -> None:
        """Return when the leader has no engine any more."""
        await asyncio.wait({self._gone})

    async def leave(self) -> None:
        """Give the engine up; the others keep it."""
        self._send(b"leave\n")
        self._writer.close()
        self._gone.cancel()
        if self._reporting is not None:
            self._reporting.cancel()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def _report_steps(self, steps: Callable[[], Sequence[int]]) -> None:
        async for line in step_lines(steps):
            self._send(line)

    def _send(self, line: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(line)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                self._steps = steps_in(line)
