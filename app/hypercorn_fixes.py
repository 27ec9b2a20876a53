"""Mends what hypercorn 0.18 does to a streaming server, all of it here.

Does not know the app. Each mend names what it is for and the test that fails without it; a newer hypercorn may need
none of them, so the version is pinned.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import h11
from hypercorn.config import Config, Sockets
from hypercorn.events import Closed
from hypercorn.protocol.h11 import H2CProtocolRequiredError, H2ProtocolAssumedError, H11Protocol

MAX_PIPELINED_BYTES = 64 * 1024
"""What a client may send ahead while it waits for an answer, before it is cut off."""

KEEPALIVE_IDLE_S = 30
KEEPALIVE_INTERVAL_S = 10
KEEPALIVE_PROBES = 3
UNACKNOWLEDGED_S = 60


def apply() -> None:
    """Mend hypercorn in this process. May be called again."""
    _read_on_while_answering()


def create_sockets(config: Config) -> Sockets:
    """The listening sockets of `config`, which notice a peer that vanished without a packet.

    Otherwise only a failing write does, and a generation that waits in the queue writes nothing. Accepted sockets
    inherit the options (Linux, `tcp(7)`). Test: `tests/app/test_hypercorn_fixes.py`.
    """
    sockets = config.create_sockets()
    for sock in (*sockets.secure_sockets, *sockets.insecure_sockets):
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            continue
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
            ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
            ("TCP_KEEPCNT", KEEPALIVE_PROBES),
            ("TCP_USER_TIMEOUT", UNACKNOWLEDGED_S * 1000),
        ):
            if hasattr(socket, name):  # Not every system has all of them.
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return sockets


def _read_on_while_answering() -> None:
    """A second request sent before the first answer's end must not hide that the client is gone.

    hypercorn stops reading when a pipelined request arrives, so the end of the connection goes unseen and the first
    generation runs on to its end. Mended: read on, bounded, and take the second request up when the first answer is
    done. Test: `tests/live/test_disconnect.py::test_pipelined_client_that_leaves`.
    """
    if hasattr(H11Protocol, "_twowire_reads_on"):
        return
    initialise = H11Protocol.__init__
    handle_events = H11Protocol._handle_events

    def __init__(self: H11Protocol, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        self.can_read = _ReadOn(self)  # type: ignore[assignment]  # stands in for hypercorn's event

    async def _handle_events(self: H11Protocol) -> None:
        can_read: Any = self.can_read
        async with can_read.lock:
            try:
                await handle_events(self)
            except _Paused:
                if len(self.connection.trailing_data[0]) > MAX_PIPELINED_BYTES:
                    await self.send(Closed())

    H11Protocol.__init__ = __init__  # type: ignore[method-assign]
    H11Protocol._handle_events = _handle_events  # type: ignore[method-assign]
    H11Protocol._twowire_reads_on = True  # type: ignore[attr-defined]


class _Paused(Exception):
    """h11 holds the beginning of a request that must wait for the answer before it."""


class _ReadOn:
    """In place of the event on which hypercorn's reader would wait: it leaves the events for later instead."""

    def __init__(self, protocol: H11Protocol) -> None:
        self.lock = asyncio.Lock()
        self._protocol = protocol

    async def clear(self) -> None:
        pass

    async def wait(self) -> None:
        raise _Paused

    async def set(self) -> None:
        """Called when an answer is done: take up what was sent meanwhile."""
        if isinstance(self._protocol.connection, h11.Connection) and self._protocol.connection.trailing_data[0]:
            self._protocol.task_group.spawn(self._take_up)

    async def _take_up(self) -> None:
        try:
            await self._protocol._handle_events()
        except (H2CProtocolRequiredError, H2ProtocolAssumedError):
            # A change of protocol cannot be pipelined; the reader, which could make one, is elsewhere.
            await self._protocol.send(Closed())
