"""Lets several API servers work with one engine: one of them owns it and offers it, the others join it.

Does not know the engine, nor how the API servers were started. They speak over a Unix socket, a line for each thing: a
guest says which API server it is, and gets the engine's addresses as JSON once there is an engine; then it says
`joined`, `ready`, `kill` or `leave`. From time to time both say how many steps of the engine they have seen, as a
number. The connection lasts as long as both have the engine. A guest that ends without leaving takes the engine with
it, which would go on generating for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import orjson
import structlog

log = structlog.get_logger(__name__)

TELL_STEPS_EVERY_S = 0.5
JOIN_TIMEOUT_S = 300.0
"""How long the owner waits for guests, which may have to import vLLM, each on a processor that others want."""
ACCEPT_AGAIN_S = 0.1

T = TypeVar("T")

Addresses = Mapping[str, str]
"""Where one API server meets the engine; the names are vLLM's."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """A Unix socket that listens before anybody accepts: who connects waits, and is not refused."""

    path: Path
    listener: socket.socket

    @classmethod
    @contextlib.contextmanager
    def at(cls, path: Path) -> Iterator[Self]:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            listener.setblocking(False)
            yield cls(path, listener)


@dataclass(frozen=True, slots=True)
class Place:
    """Which of `count` API servers this one is. Number 0 owns the engine, and is found at the meeting."""

    index: int
    count: int
    meeting: Meeting
    leave_s: float
    """How long the owner waits for the others, where all stop."""

    @property
    def is_owner(self) -> bool:
        return self.index == 0


class Offer:
    """The owner's end, for the life of one engine."""

    def __init__(
        self, place: Place, addresses: Sequence[Addresses], steps: Callable[[], int], kill: Callable[[], None]
    ) -> None:
        """`addresses` by the API server's number; `steps` that were seen by any; `kill` ends it as a crash would."""
        self._place = place
        self._addresses = addresses
        self._steps = steps
        self._kill = kill
        self.present: dict[int, asyncio.StreamWriter] = {}
        """The guests that have the engine, by their numbers."""
        self._joined: set[int] = set()
        self._ready: set[int] = set()
        self._seen: dict[int, int] = {}
        self._changed = asyncio.Condition()
        self._is_open = True
        self._tasks = {asyncio.create_task(self._accept()), asyncio.create_task(self._tell_steps())}

    @property
    def steps(self) -> int:
        """Of the engine's steps those that the guests have seen."""
        return sum(self._seen.values())

    async def wait_joined(self) -> None:
        """Return once every guest can use the engine. Raises `TimeoutError`."""
        async with asyncio.timeout(JOIN_TIMEOUT_S), self._changed:
            await self._changed.wait_for(lambda: len(self._ready) == self._place.count - 1)

    async def close(self, *, wait_s: float = 0.0) -> None:
        """Take the engine back from all guests; `wait_s` is for those that are about to leave by themselves."""
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
                await self._hear(index, line, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()
            if self.present.get(index) is writer:
                await self._note(index, None)
            # One that has died before there was an engine has never answered, and nothing is generated for it.
            if is_here and self._is_open:
                log.error("api_server_lost", lost=index)
                self._kill()

    async def _hear(self, index: int, line: bytes, writer: asyncio.StreamWriter) -> None:
        match line:
            case b"joined\n":
                if index in self._joined:
                    # vLLM greets a client once: another in its place would wait for that in vain.
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
                self._seen[index] = int(line)

    async def _note(self, index: int, writer: asyncio.StreamWriter | None) -> None:
        """Record a guest joining or leaving."""
        async with self._changed:
            if writer is not None:
                self.present[index] = writer
            else:
                del self.present[index]
                self._ready.discard(index)
            self._changed.notify_all()

    async def _tell_steps(self) -> None:
        async for line in _changes(self._steps):
            for writer in self.present.values():
                if not writer.is_closing():
                    writer.write(line)


async def accepted(meeting: Meeting) -> AsyncIterator[socket.socket]:
    """The connections to a meeting, for ever."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            connection, _ = await loop.sock_accept(meeting.listener)
        except OSError as error:  # Such as too many open files.
            log.warning("cannot_accept", error=repr(error))
            await asyncio.sleep(ACCEPT_AGAIN_S)
            continue
        yield connection


async def _changes(steps: Callable[[], int]) -> AsyncIterator[bytes]:
    told = 0
    while True:
        await asyncio.sleep(TELL_STEPS_EVERY_S)
        if (now := steps()) != told:
            told = now
            yield b"%d\n" % now


async def unless_gone(work: Coroutine[Any, Any, T], gone: Coroutine[Any, Any, object]) -> T:
    """The outcome of `work`. Raises `RuntimeError` where `gone`, which waits for the engine's end, returns before."""
    working, going = asyncio.ensure_future(work), asyncio.ensure_future(gone)
    try:
        await asyncio.wait({working, going}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise RuntimeError("the engine died while the API servers joined it")
        return working.result()
    finally:
        working.cancel()
        going.cancel()


class Guest:
    """Another API server's end, for the life of one engine. Made by `join`."""

    def __init__(self, addresses: Addresses, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.addresses = addresses
        self.steps = 0
        """That the engine has taken, for whomever; half a second old at most."""
        self._writer = writer
        self._gone = asyncio.create_task(self._listen(reader))
        self._telling: asyncio.Task[None] | None = None

    @classmethod
    async def join(cls, place: Place) -> Guest:
        """Wait until the owner has an engine."""
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
        """The outcome of `work`. Raises `RuntimeError` where the engine goes meanwhile, and cancels it."""
        return await unless_gone(work, self.wait_gone())

    def ready(self, steps: Callable[[], int]) -> None:
        """Say that this API server can generate; from now on tell `steps`, those of the engine's that it has seen."""
        self._say(b"ready\n")
        self._telling = asyncio.create_task(self._tell_steps(steps))

    def kill(self) -> None:
        """Have the engine ended as a crash would."""
        self._say(b"kill\n")

    async def wait_gone(self) -> None:
        """Return when the owner has no engine any more."""
        await asyncio.wait({self._gone})

    async def leave(self) -> None:
        """Give the engine up; the others keep it."""
        self._say(b"leave\n")
        self._writer.close()
        self._gone.cancel()
        if self._telling is not None:
            self._telling.cancel()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def _tell_steps(self, steps: Callable[[], int]) -> None:
        async for line in _changes(steps):
            self._say(line)

    def _say(self, line: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(line)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                self.steps = int(line)
