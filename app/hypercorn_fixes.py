"""Mends what hypercorn 0.18 does to a streaming server, all of it here.

Does not know the app. Each mend names what it is for and the test that fails without it; a newer hypercorn may need
none of them, so the version is pinned.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import h11
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import AsyncioSingleTask
from hypercorn.config import Config, Sockets
from hypercorn.events import Closed
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.h11 import H2CProtocolRequiredError, H2ProtocolAssumedError, H11Protocol
from hypercorn.protocol.ws_stream import Handshake, WSStream

MAX_PIPELINED_BYTES = 64 * 1024
"""What a client may send ahead while it waits for an answer, before it is cut off."""

KEEPALIVE_IDLE_S = 30
KEEPALIVE_INTERVAL_S = 10
KEEPALIVE_PROBES = 3
UNACKNOWLEDGED_S = 60


def apply() -> None:
    """Mend hypercorn in this process. May be called again."""
    _read_on_while_answering()
    _forget_closed_connections()
    _close_after_two_lengths()
    _let_the_app_abort()
    _never_compress()
    _end_oversized_messages()
    _drop_what_nobody_reads()


def create_sockets(config: Config) -> Sockets:
    """The listening sockets of `config`, which notice a peer that vanished without a packet.

    Otherwise only a failing write does, and a generation that waits in the queue writes nothing. Accepted sockets
    inherit the options (Linux, `tcp(7)`). Test: `tests/app/test_hypercorn_fixes.py`.
    """
    sockets = config.create_sockets()
    for sock in (*sockets.secure_sockets, *sockets.insecure_sockets):
        # hypercorn listens only later: who comes before is to wait, not to be refused.
        sock.listen(config.backlog)
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


ABORT_KEY = "twowire.abort"


def abort_connection(scope: Any) -> None:
    """Cut the connection of an ASGI scope, whatever waits in it: the only end for a peer that does not read.

    Does nothing under a server that `apply` has not mended.
    """
    abort = scope.get("state", {}).get(ABORT_KEY)
    if abort is not None:
        abort()


def _let_the_app_abort() -> None:
    """Let `abort_connection` reach the transport, which ASGI gives an application no way to.

    hypercorn would wait for the stuck write for ever, and a close that is queued behind it never leaves. Test:
    `tests/live/test_channel_pressure.py`.
    """
    if hasattr(TCPServer, "_twowire_aborts"):
        return
    initialise = TCPServer.__init__

    def __init__(self: TCPServer, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        # hypercorn copies this into the `state` of each of the connection's scopes.
        self.state = {**self.state, ABORT_KEY: self.writer.transport.abort}

    TCPServer.__init__ = __init__  # type: ignore[method-assign]
    TCPServer._twowire_aborts = True  # type: ignore[attr-defined]


def _never_compress() -> None:
    """Refuse every WebSocket extension, permessage-deflate above all (upstream issue 307: it is always negotiated).

    A compressed frame's length follows its text, a context per connection costs memory, and a bomb fits in a small
    frame. Test: `tests/live/test_channel_abuse.py`.
    """
    if hasattr(Handshake, "_twowire_plain"):
        return
    initialise = Handshake.__init__

    def __init__(self: Handshake, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        self.extensions = None

    Handshake.__init__ = __init__  # type: ignore[method-assign]
    Handshake._twowire_plain = True  # type: ignore[attr-defined]


def _end_oversized_messages() -> None:
    """A WebSocket message over the limit ends its connection, after the close frame with 1009.

    hypercorn sends that frame, goes on collecting bytes, and tells the application nothing. Test:
    `tests/live/test_channel_abuse.py`.
    """
    if hasattr(WSStream, "_twowire_ends"):
        return
    handle_events = WSStream._handle_events

    async def _handle_events(self: WSStream) -> None:
        await handle_events(self)
        if self.buffer.length > self.buffer.max_length:
            await self.send(StreamClosed(stream_id=self.stream_id))

    WSStream._handle_events = _handle_events  # type: ignore[method-assign]
    WSStream._twowire_ends = True  # type: ignore[attr-defined]


def _drop_what_nobody_reads() -> None:
    """What a WebSocket's client sends after the application has ended is dropped.

    hypercorn puts it into the application's queue, and waits for ever once that is full: the connection and its tasks
    stay, whatever becomes of the socket. Test: `tests/live/test_channel_abuse.py`.
    """
    if hasattr(WSStream, "_twowire_drops"):
        return
    app_send = WSStream.app_send

    async def _app_send(self: WSStream, message: Any) -> None:
        if message is None and self.app_put is not None:  # The application has ended.
            queue: asyncio.Queue[Any] = self.app_put.__self__  # type: ignore[attr-defined]  # the queue's own `put`
            self.app_put = _nowhere
            while not queue.empty():
                queue.get_nowait()  # Which also wakes the reader, if it waits for room.
        await app_send(self, message)

    WSStream.app_send = _app_send  # type: ignore[method-assign]
    WSStream._twowire_drops = True  # type: ignore[attr-defined]


async def _nowhere(event: Any) -> None:
    pass


def _forget_closed_connections() -> None:
    """A connection that the client has closed must not be kept until the idle timeout.

    hypercorn waits for its idle timer, so that each one costs a socket and three tasks for `keep_alive_timeout`, which
    is long here. Test: `tests/live/test_disconnect.py::test_a_hundred_clients_that_vanish_leave_nothing_behind`.
    """
    if hasattr(TCPServer, "_twowire_forgets"):
        return
    read = TCPServer._read_data

    async def _read_data(self: TCPServer) -> None:
        try:
            await read(self)
        finally:
            await self.idle_task.stop()
            # An answer that ends just now would start the timer again.
            self.idle_task = _NoTimer()

    TCPServer._read_data = _read_data  # type: ignore[method-assign]
    TCPServer._twowire_forgets = True  # type: ignore[attr-defined]


class _NoTimer(AsyncioSingleTask):
    async def restart(self, task_group: Any, action: Any) -> None:
        pass


def _close_after_two_lengths() -> None:
    """A request with both Content-Length and Transfer-Encoding is its connection's last (RFC 9112, section 6.1).

    A proxy in front may have read the other length; what it takes for the body would be our next request. h11 0.16
    takes the chunks, and goes on.
    Test: `tests/live/test_bad_http.py::test_length_and_chunks_together_end_the_connection`.
    """
    if hasattr(H11Protocol, "_twowire_closes"):
        return
    create = H11Protocol._create_stream

    async def _create_stream(self: H11Protocol, request: h11.Request) -> None:
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in request.headers}:
            # From this number on, hypercorn answers with `Connection: close`.
            self.keep_alive_requests = self.config.keep_alive_max_requests
        await create(self, request)

    H11Protocol._create_stream = _create_stream  # type: ignore[method-assign]
    H11Protocol._twowire_closes = True  # type: ignore[attr-defined]


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
                    # First the answer, because a client that does not read can keep the socket from closing.
                    await self.handle(Closed())
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
