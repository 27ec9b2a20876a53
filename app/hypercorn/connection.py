"""Connections and listening sockets: fixes for hypercorn 0.18's `TCPServer`, which serves one connection.

Each class is one fix and changes nothing else. `install` puts them together.
"""

from __future__ import annotations

import asyncio
import socket
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
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.protocol.ws_stream import WSStream

from app.hypercorn.config import counts, max_connections, max_connections_per_address
from app.stores.counts import Counts, LocalCounts
from protocol.errors import Fault, TwowireError, error_bytes

log = structlog.get_logger(__name__)

KEEPALIVE_IDLE_S = 30
KEEPALIVE_INTERVAL_S = 10
KEEPALIVE_PROBES = 3
UNACKNOWLEDGED_S = 60

CONNECTIONS = "connections"
"""The name under which all open connections are counted."""

REFUSAL_LINGER_S = 1.0
"""How long a refused client may take to read why."""


def create_sockets(config: Config) -> Sockets:
    """The listening sockets of `config`, which notice a peer that vanished without a packet.

    Otherwise only a failing write notices, and a queued generation writes nothing. Accepted sockets inherit the
    options (Linux, `tcp(7)`). Test: `tests/app/hypercorn/test_hypercorn.py`.
    """
    sockets = config.create_sockets()
    for sock in (*sockets.secure_sockets, *sockets.insecure_sockets):
        # hypercorn starts listening later; until then clients should wait, not be refused.
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


def connection_of(stream: HTTPStream | WSStream) -> TCPServer | None:
    """The connection of a stream, which hypercorn gives no reference to: a stream sends by methods of its owners."""
    protocol = getattr(stream.send, "__self__", None)
    connection = getattr(getattr(protocol, "send", None), "__self__", None)
    return connection if isinstance(connection, TCPServer) else None


class OwnParts(TCPServer):
    """Lets fixes replace a connection's parts. The only class that overrides `TCPServer.__init__`."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.writer = self.make_writer(self.writer)
        self.idle_task = self.make_idle_task()

    def make_writer(self, writer: Any) -> Any:
        """The writer to use in place of `writer`: a `WriterWrapper` around it."""
        return writer

    def make_idle_task(self) -> Any:
        """What starts and stops the connection's idle time, with hypercorn's `restart` and `stop`."""
        return self.idle_task


class WriterWrapper:
    """Passes on to `writer` what a connection asks of an `asyncio.StreamWriter`."""

    def __init__(self, writer: Any) -> None:
        self.transport: asyncio.WriteTransport = writer.transport
        self.write = writer.write
        self._writer = writer

    def get_extra_info(self, name: str) -> Any:
        return self._writer.get_extra_info(name)

    def drain(self) -> Awaitable[None]:
        waiting: Awaitable[None] = self._writer.drain()
        return waiting

    def can_write_eof(self) -> bool:
        return bool(self._writer.can_write_eof())

    def write_eof(self) -> None:
        self._writer.write_eof()

    def close(self) -> None:
        self._writer.close()

    def wait_closed(self) -> Awaitable[None]:
        waiting: Awaitable[None] = self._writer.wait_closed()
        return waiting


class KeepCancelledWrites(TCPServer):
    """hypercorn 0.18 loses bytes when a send is cancelled while it waits for another send.

    Over HTTP/2 they are already counted in the header compression, so every later header is garbled. Here bytes are
    written first, in the order in which they were made, and the waiting comes after.
    Test: `tests/live/fake/http/test_http2.py::test_a_cancelled_answer_does_not_garble_the_next`.
    """

    async def protocol_send(self, event: Event) -> None:
        if not isinstance(event, RawData):
            await super().protocol_send(event)
            return
        try:
            self.writer.write(event.data)
            await self.writer.drain()
        except (ConnectionError, RuntimeError):
            await self.protocol.handle(Closed())


class ContainCrashes(TCPServer):
    """hypercorn 0.18 lets an exception out of a connection's task; here it is logged and ends that connection alone.

    asyncio would log it in its own format. While the server stops, the first one aborts the shutdown, with a traceback
    and exit code 1. Test: `test_a_connection_that_crashes_while_the_server_stops` in
    `tests/app/middleware/test_guard_sockets.py`.
    """

    async def run(self) -> None:
        try:
            await super().run()
        except OSError as error:
            # The client is gone. uvloop also raises when it half-closes a socket that was reset before.
            log.debug("connection_lost", reason=str(error))
            self.writer.transport.abort()
        except Exception as error:
            log.error("connection_failed", exc_info=error)
            self.writer.transport.abort()


class LimitConnections(TCPServer):
    """hypercorn 0.18 accepts any number of connections; here there is a limit, and one for each address.

    A connection over the limit is refused before it costs more.
    Test: `tests/live/fake/limits/test_connection_limits.py`.
    """

    async def run(self) -> None:
        peer = self.writer.get_extra_info("peername")
        address = f"address {peer[0] if isinstance(peer, tuple) else ''}"
        open_ones = counts(self.config) or _own_counts(self.context)
        most, most_per_address = max_connections(self.config), max_connections_per_address(self.config)
        if open_ones.of(CONNECTIONS) >= most:
            await self._refuse(f"{most} connections are open, which is this server's limit.")
        elif open_ones.of(address) >= most_per_address:
            await self._refuse(f"{most_per_address} connections are open from your address, which is the limit.")
        else:
            for name in (CONNECTIONS, address):
                open_ones.add(name)
            try:
                await super().run()
            finally:
                for name in (CONNECTIONS, address):
                    open_ones.remove(name)

    async def _refuse(self, reason: str) -> None:
        """Send the reason in the protocol that was negotiated, and close."""
        tls = self.writer.get_extra_info("ssl_object")
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
                self.writer.write(answer)
                if self.writer.can_write_eof():
                    self.writer.write_eof()
                # Closing with unread data would reset the connection, and the answer could be lost.
                while await self.reader.read(65536):
                    pass
        except (TimeoutError, OSError):
            pass
        self.writer.transport.abort()


def _own_counts(context: WorkerContext) -> Counts:
    """The open connections of a server that is one process."""
    own: LocalCounts = context.__dict__.setdefault("_twowire_connections", LocalCounts())
    return own
