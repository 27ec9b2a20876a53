"""Fixes for hypercorn 0.18's TCP connections and listening sockets.

Does not know the app.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Awaitable
from typing import Any

import h2.config
import h2.connection
import h2.errors
import structlog
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config, Sockets
from hypercorn.events import Closed, Event, RawData

from app.hypercorn.config import max_connections, max_connections_per_address, send_timeout_s
from protocol.errors import Fault, TwowireError, error_bytes

log = structlog.get_logger(__name__)

KEEPALIVE_IDLE_S = 30
KEEPALIVE_INTERVAL_S = 10
KEEPALIVE_PROBES = 3
UNACKNOWLEDGED_S = 60


def create_sockets(config: Config) -> Sockets:
    """The listening sockets of `config`, which notice a peer that vanished without a packet.

    Otherwise only a failing write does, and a generation that waits in the queue writes nothing. Accepted sockets
    inherit the options (Linux, `tcp(7)`). Test: `tests/app/hypercorn/test_hypercorn.py`.
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

    Does nothing under a server without the fixes of `apply`.
    """
    abort = scope.get("state", {}).get(ABORT_KEY)
    if abort is not None:
        abort()


def let_the_app_abort() -> None:
    """Let `abort_connection` reach the transport, which ASGI gives an application no way to.

    hypercorn would wait for the stuck write for ever, and a close that is queued behind it never leaves. Test:
    `tests/live/test_channel_pressure.py`.
    """
    initialise = TCPServer.__init__

    def __init__(self: TCPServer, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        # hypercorn copies this into the `state` of each of the connection's scopes.
        self.state = {**self.state, ABORT_KEY: self.writer.transport.abort}

    TCPServer.__init__ = __init__  # type: ignore[method-assign]


def write_before_waiting() -> None:
    """What HTTP/2 has made of headers must leave, and in the order in which it was made.

    hypercorn takes the bytes from h2 and then waits for the connection's turn to write; where the request that made
    them is cancelled in that wait, they are lost, and the compression of every later header with them. Fix: write
    first, wait afterwards. Test: `tests/live/test_http2.py::test_a_cancelled_answer_does_not_garble_the_next`.
    """
    send = TCPServer.protocol_send

    async def protocol_send(self: TCPServer, event: Event) -> None:
        if not isinstance(event, RawData):
            await send(self, event)
            return
        try:
            self.writer.write(event.data)
            await self.writer.drain()
        except (ConnectionError, RuntimeError):
            await self.protocol.handle(Closed())

    TCPServer.protocol_send = protocol_send  # type: ignore[method-assign]


def cut_who_does_not_read() -> None:
    """A client that takes nothing of what is sent to it, for `send_timeout_s`, is cut: nothing else would end it.

    hypercorn waits for ever, in a send as in a close. A client that is slow is not cut: any byte that its system
    acknowledges counts. Test: `tests/live/test_stuck_readers.py`.
    """
    initialise = TCPServer.__init__

    def __init__(self: TCPServer, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        self.writer = _WatchedWriter(self.writer, send_timeout_s(self.config))  # type: ignore[assignment]

    TCPServer.__init__ = __init__  # type: ignore[method-assign]


class _WatchedWriter:
    """A stream's writer whose waits have a limit."""

    def __init__(self, writer: asyncio.StreamWriter, limit_s: float) -> None:
        self.write = writer.write
        self.transport = writer.transport
        self._writer = writer
        self._limit_s = limit_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    async def drain(self) -> None:
        await self._watched(self._writer.drain())

    async def wait_closed(self) -> None:
        await self._watched(self._writer.wait_closed())

    async def _watched(self, waiting: Awaitable[None]) -> None:
        if not self.transport.get_write_buffer_size():
            await waiting
            return
        watch = _Watch(self.transport, self._limit_s)
        try:
            await waiting
        finally:
            watch.stop()


class _Watch:
    """Looks a few times within the limit, and cuts when nothing was taken for as long as that."""

    LOOKS = 5

    def __init__(self, transport: asyncio.WriteTransport, limit_s: float) -> None:
        self._transport = transport
        self._looks_left = self.LOOKS
        self._every_s = limit_s / self.LOOKS
        self._taken = _acknowledged_bytes(transport)
        self._timer = asyncio.get_running_loop().call_later(self._every_s, self._look)

    def stop(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        taken = _acknowledged_bytes(self._transport)
        self._looks_left = self._looks_left - 1 if taken == self._taken else self.LOOKS
        self._taken = taken
        if not self._looks_left:
            log.info("connection_cut", reason=f"it took nothing for {self._every_s * self.LOOKS:g} s")
            self._transport.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(self._every_s, self._look)


_BYTES_ACKED = struct.Struct("@120xQ")
"""Where `tcpi_bytes_acked` stands in Linux's `struct tcp_info` (linux/tcp.h)."""


def _acknowledged_bytes(transport: asyncio.WriteTransport) -> int:
    """What the peer's system has taken so far; where that cannot be known, what still waits here."""
    try:
        info = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
        return int(_BYTES_ACKED.unpack(info)[0])
    except (OSError, ValueError, AttributeError, struct.error):  # No TCP, another system, or closed already.
        return transport.get_write_buffer_size()


def contain_crashes() -> None:
    """What goes wrong in one connection is logged once, and ends that connection alone.

    hypercorn lets it out of the connection's task: asyncio then logs it in its own form, and while the server stops,
    the first of them ends the stop, with a traceback and exit code 1.
    Test: `tests/app/middleware/test_guard.py::test_a_connection_that_crashes_while_the_server_stops`.
    """
    run = TCPServer.run

    async def _run(self: TCPServer) -> None:
        try:
            await run(self)
        except OSError as error:
            # The client has gone. uvloop also raises what became of the half-close of a socket that was reset before.
            log.debug("connection_lost", reason=str(error))
            self.writer.transport.abort()
        except Exception as error:
            log.error("connection_failed", exc_info=error)
            self.writer.transport.abort()

    TCPServer.run = _run  # type: ignore[method-assign]


def count_connections() -> None:
    """There may be so many connections, and so many from one address; the next is refused before it costs more.

    hypercorn has no such limit. Test: `tests/live/test_connection_limits.py`.
    """
    run = TCPServer.run

    async def _run(self: TCPServer) -> None:
        peer = self.writer.get_extra_info("peername")
        address = peer[0] if isinstance(peer, tuple) else ""
        counts = _counts(self.context)
        most, most_per_address = max_connections(self.config), max_connections_per_address(self.config)
        if counts.total() >= most:
            await _refuse(self, f"{most} connections are open, the most that this server holds.")
        elif counts[address] >= most_per_address:
            await _refuse(
                self, f"{most_per_address} connections are open from your address, the most that it may have."
            )
        else:
            counts[address] += 1
            try:
                await run(self)
            finally:
                counts[address] -= 1
                if not counts[address]:
                    del counts[address]

    TCPServer.run = _run  # type: ignore[method-assign]


def _counts(context: WorkerContext) -> Counter[str]:
    """The open connections of one server, by address."""
    counts: Counter[str] = context.__dict__.setdefault("_twowire_connections", Counter())
    return counts


REFUSAL_LINGER_S = 1.0


async def _refuse(server: TCPServer, reason: str) -> None:
    """Say why, in whatever protocol was agreed on, and close."""
    tls = server.writer.get_extra_info("ssl_object")
    if tls is not None and tls.selected_alpn_protocol() == "h2":
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        connection.close_connection(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
        answer = connection.data_to_send()
    else:
        body = error_bytes(TwowireError(Fault.TOO_MANY_CONNECTIONS, reason))
        answer = (
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        ) + body
    try:
        async with asyncio.timeout(REFUSAL_LINGER_S):
            server.writer.write(answer)
            if server.writer.can_write_eof():
                server.writer.write_eof()
            # Closed while something unread has come, the connection would be reset, and the answer lost with it.
            while await server.reader.read(65536):
                pass
    except (TimeoutError, OSError):
        pass
    server.writer.transport.abort()
