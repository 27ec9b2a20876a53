"""Lets several API servers share one engine: the leader launches it, the followers join it.

They speak over a Unix socket, one line per message. A follower sends its number, and gets the engine's addresses as
JSON once there is an engine; then it sends `joined`, `ready`, `kill` or `leave`. Both sides report how many of the
engine's steps they have seen, as a number for each of its ranks. The connection lasts as long as both have the
engine. A follower that ends without leaving takes the engine with it, which would otherwise go on generating for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import structlog

log = structlog.get_logger(__name__)

REPORT_EVERY_S = 0.5
ACCEPT_AGAIN_S = 0.1

T = TypeVar("T")

Addresses = Mapping[str, str]
"""Where one API server meets the engine; the names are vLLM's."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """A Unix socket that listens before anyone accepts, so that connecting waits instead of failing."""

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
    """Which of `count` API servers this one is. Number 0 is the leader, and accepts the others at `meeting`."""

    index: int
    count: int
    meeting: Meeting
    leave_s: float
    """How long the leader waits for the others when all of them stop."""

    @property
    def is_leader(self) -> bool:
        return self.index == 0


async def accepted(meeting: Meeting) -> AsyncIterator[socket.socket]:
    """Accept connections to a meeting, forever."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            connection, _ = await loop.sock_accept(meeting.listener)
        except OSError as error:  # Such as too many open files.
            log.warning("cannot_accept", error=repr(error))
            await asyncio.sleep(ACCEPT_AGAIN_S)
            continue
        yield connection


async def step_lines(steps: Callable[[], Sequence[int]]) -> AsyncIterator[bytes]:
    """The line to send whenever `steps()`, by rank, has changed, forever."""
    reported: Sequence[int] = ()
    while True:
        await asyncio.sleep(REPORT_EVERY_S)
        if (now := tuple(steps())) != reported:
            reported = now
            yield b" ".join(b"%d" % count for count in now) + b"\n"


def steps_in(line: bytes) -> Sequence[int]:
    """The steps by rank that a line of `step_lines` reports."""
    return tuple(map(int, line.split()))


async def unless_gone(work: Coroutine[Any, Any, T], gone: Coroutine[Any, Any, object]) -> T:
    """The result of `work`. Raises `RuntimeError` if `gone`, which waits for the engine's end, returns first."""
    working, going = asyncio.ensure_future(work), asyncio.ensure_future(gone)
    try:
        await asyncio.wait({working, going}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise RuntimeError("the engine died while the API servers joined it")
        return working.result()
    finally:
        working.cancel()
        going.cancel()
