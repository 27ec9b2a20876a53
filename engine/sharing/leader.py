"""The leader's side of a shared engine: offers it to the followers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence

import orjson
import structlog

from engine.sharing.meeting import Addresses, Place, accepted, step_lines, steps_in

log = structlog.get_logger(__name__)

JOIN_TIMEOUT_S = 300.0
"""How long the leader waits for followers, which may have to import vLLM on busy processors."""


class Leader:
    """Offers one engine, for its life."""

    def __init__(
        self, place: Place, addresses: Sequence[Addresses], steps: Callable[[], Sequence[int]], kill: Callable[[], None]
    ) -> None:
        """`addresses` are by API server; `steps()` counts all seen, by rank; `kill()` acts as a crash would."""
        self._place = place
        self._addresses = addresses
        self._steps = steps
        self._kill = kill
        self.present: dict[int, asyncio.StreamWriter] = {}
        """The followers that have the engine, by number."""
        self._joined: set[int] = set()
        self._ready: set[int] = set()
        self._seen: dict[int, Sequence[int]] = {}
        self._changed = asyncio.Condition()
        self._is_open = True
        self._tasks = {asyncio.create_task(self._accept()), asyncio.create_task(self._report_steps())}

    def steps_of(self, rank: int) -> int:
        """A rank's steps that the followers have seen."""
        return sum(seen[rank] for seen in self._seen.values())

    async def wait_joined(self) -> None:
        """Return once every follower can use the engine. Raises `TimeoutError`."""
        async with asyncio.timeout(JOIN_TIMEOUT_S), self._changed:
            await self._changed.wait_for(lambda: len(self._ready) == self._place.count - 1)

    async def close(self, *, wait_s: float = 0.0) -> None:
        """Take the engine back from all followers, after up to `wait_s` for them to leave by themselves."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s), self._changed:
                    await self._changed.wait_for(lambda: not self.present)
        finally:
            self._is_open = False
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self) -> None:
        async for connection in accepted(self._place.meeting):
            task = asyncio.create_task(self._serve(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=connection)
        index, is_here = -1, False
        try:
            index = int(await reader.readline() or -1)
            if index < 0:
                return
            writer.write(orjson.dumps(self._addresses[index]) + b"\n")
            while line := await reader.readline():
                is_here = line != b"leave\n"
                await self._receive(index, line, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()
            if self.present.get(index) is writer:
                await self._note(index, None)
            # A follower that died before there was an engine never answered; nothing is generated for it.
            if is_here and self._is_open:
                log.error("api_server_lost", lost=index)
                self._kill()

    async def _receive(self, index: int, line: bytes, writer: asyncio.StreamWriter) -> None:
        match line:
            case b"joined\n":
                if index in self._joined:
                    # vLLM greets a client once; its successor would wait for that in vain.
                    log.warning("api_server_again", again=index)
                    self._kill()
                self._joined.add(index)
                await self._note(index, writer)
            case b"ready\n":
                self._ready.add(index)
                await self._note(index, writer)
            case b"kill\n":
                self._kill()
            case b"leave\n":
                pass
            case _:
                self._seen[index] = steps_in(line)

    async def _note(self, index: int, writer: asyncio.StreamWriter | None) -> None:
        """Record a follower joining or leaving."""
        async with self._changed:
            if writer is not None:
                self.present[index] = writer
            else:
                del self.present[index]
                self._ready.discard(index)
            self._changed.notify_all()

    async def _report_steps(self) -> None:
        async for line in step_lines(self._steps):
            for writer in self.present.values():
                if not writer.is_closing():
                    writer.write(line)
