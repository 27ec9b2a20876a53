"""The fast path past hypercorn 0.18: writes parts of a response that has begun straight to the socket, framed here.

A part that goes through hypercorn passes some ten functions and two protocol libraries, and the task that sends it is
switched out on the way; for a token that costs more than everything else. Once a response has begun, each of its parts
has the same few bytes of frame (RFC 9112, section 7.1; RFC 9113, section 6.1; RFC 6455, section 5.2). Neither h11 nor
wsproto keeps count of them; h2 counts windows, which are counted here, too.

Only the task that would send next may write, and only after the beginning was sent through hypercorn. If the socket or
an HTTP/2 window does not take what was written before, or the response is in any other state, nothing is written:
hypercorn's way waits, and cuts clients that do not read. Both ways lead through the connection's write buffer, which
keeps their order. Tests: `tests/app/hypercorn/test_fast_write.py`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Protocol

import h11
from hypercorn.protocol.events import Event, Request, StreamClosed
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from hypercorn.typing import ConnectionState as State
from wsproto.connection import ConnectionState

from app.hypercorn.connection import connection_of
from app.hypercorn.write_buffer import GatherWrites, WriteBuffer

STREAM_KEY = "twowire.stream"

SMALL, MEDIUM = 126, 1 << 16
"""Below these the length of a WebSocket frame takes one byte, or two more (RFC 6455, section 5.2)."""


class FastWriter(Protocol):
    """Writes parts of one response."""

    def write(self, part: bytes) -> bool:
        """Send `part`, which is not empty; False: it cannot be sent at once, and nothing was."""


class NameStream:
    """hypercorn 0.18 gives an application no way to its stream; here the `state` of the ASGI scope holds it.

    `fast_writer_of`, `when_gone` and `abort_connection` need it. A mixin for `HTTPStream` and `WSStream`.
    Tests: `tests/app/hypercorn/test_fast_write.py`, `tests/live/fake/channel/test_channel_pressure.py`.
    """

    on_gone: Callable[[], None] | None = None
    """Called when the client leaves before the response of an `HTTPStream` has ended."""

    async def handle(self, event: Event) -> None:
        if isinstance(event, Request):
            # hypercorn copies the state into the scope. Weakly, because a stream has its scope: with a circle, all that
            # belongs to a request would stay until Python's collector comes, which then took a twentieth of the time.
            state = State({**event.state, STREAM_KEY: weakref.ref(self)})
            event = Request(event.stream_id, event.headers, event.http_version, event.method, event.raw_path, state)
        elif self.on_gone is not None and isinstance(event, StreamClosed) and _is_unfinished(self):
            self.on_gone()
        await super().handle(event)  # type: ignore[misc]  # the stream's own, whichever class that is


def _is_unfinished(stream: Any) -> bool:
    """Its response has not been sent whole, and its end is not known to the application."""
    return not stream.closed and stream.state is not ASGIHTTPState.CLOSED


def _stream_of(scope: Any) -> Any:
    """The stream of an ASGI scope; None on a server without `install`, and once the stream is gone."""
    named = scope.get("state", {}).get(STREAM_KEY)
    return named() if named is not None else None


def when_gone(scope: Any, call: Callable[[], None]) -> Callable[[], None] | None:
    """Call `call`, once at most, when the client of an HTTP request leaves before its response has been sent.

    Takes the place of waiting for `http.disconnect`, and of the task that would have to. Returns a function that undoes
    it; None where it cannot be done: without `install`, or where the client may have left already.
    """
    stream = _stream_of(scope)
    if not isinstance(stream, NameStream) or not isinstance(stream, HTTPStream) or not _is_unfinished(stream):
        return None
    stream.on_gone = call

    def forget() -> None:
        stream.on_gone = None

    return forget


def abort_connection(scope: Any) -> None:
    """Cut the connection of an ASGI scope, whatever waits in it: the only end for a peer that does not read.

    hypercorn would wait for the stuck write forever, and a close that is queued behind it never leaves. Does nothing on
    a server without `install`. Test: `tests/live/fake/channel/test_channel_pressure.py`.
    """
    stream = _stream_of(scope)
    connection = connection_of(stream) if stream is not None else None
    if connection is not None:
        connection.writer.transport.abort()


def fast_writer_of(scope: Any) -> FastWriter | None:
    """The fast path to the socket for the response of an ASGI scope.

    None where there is none: on a server without `install`, for HEAD, and for HTTP/1.0, which has no chunks.
    """
    stream = _stream_of(scope)
    connection = connection_of(stream) if stream is not None else None
    if not isinstance(connection, GatherWrites):
        return None
    protocol, buffer = stream.send.__self__, connection.write_buffer
    if isinstance(stream, WSStream) and isinstance(protocol, H11Protocol):
        return _WebSocket(stream, buffer)
    if not isinstance(stream, HTTPStream) or scope["method"] == "HEAD":
        return None
    if isinstance(protocol, H2Protocol):
        return _Http2(stream, protocol, buffer)
    if isinstance(protocol, H11Protocol) and scope["http_version"] == "1.1":
        return _Http1(stream, protocol, buffer)
    return None


class _Http1:
    """Chunks of a body without a length, which is what streams here have."""

    def __init__(self, stream: HTTPStream, protocol: H11Protocol, buffer: WriteBuffer) -> None:
        self._stream = stream
        self._protocol = protocol
        self._buffer = buffer

    def write(self, part: bytes) -> bool:
        if (
            self._stream.state is not ASGIHTTPState.RESPONSE
            or self._stream.closed
            or self._protocol.connection.our_state is not h11.SEND_BODY
            or not self._buffer.has_room
        ):
            return False
        self._buffer.write_now(b"%x\r\n%b\r\n" % (len(part), part))
        return True


class _Http2:
    """DATA frames. The windows are h2's own counts (h2 4.4), from which it subtracts what it sends itself."""

    def __init__(self, stream: HTTPStream, protocol: H2Protocol, buffer: WriteBuffer) -> None:
        self._stream = stream
        self._protocol = protocol
        self._buffer = buffer
        self._id = stream.stream_id
        self._after_size = b"\x00\x00" + self._id.to_bytes(4, "big")

    def write(self, part: bytes) -> bool:
        connection = self._protocol.connection
        window = connection.streams.get(self._id)
        waiting = self._protocol.stream_buffers.get(self._id)
        size = len(part)
        if (
            self._stream.state is not ASGIHTTPState.RESPONSE
            or self._stream.closed
            or window is None
            or not window.open
            or waiting is None
            or waiting.buffer
            or size > window.outbound_flow_control_window
            or size > connection.outbound_flow_control_window
            or size > connection.max_outbound_frame_size
            or not self._buffer.try_write(size.to_bytes(3, "big") + self._after_size, part)
        ):
            return False
        window.outbound_flow_control_window -= size
        connection.outbound_flow_control_window -= size
        return True


class _WebSocket:
    """Text messages, unmasked, in one frame each."""

    def __init__(self, stream: WSStream, buffer: WriteBuffer) -> None:
        self._stream = stream
        self._buffer = buffer

    def write(self, part: bytes) -> bool:
        stream = self._stream
        if (
            stream.state is not ASGIWebsocketState.CONNECTED
            or stream.closed
            or stream.connection.state is not ConnectionState.OPEN
        ):
            return False
        size = len(part)
        if size < SMALL:
            head = bytes((0x81, size))
        elif size < MEDIUM:
            head = b"\x81\x7e" + size.to_bytes(2, "big")
        else:
            head = b"\x81\x7f" + size.to_bytes(8, "big")
        return self._buffer.try_write(head, part)
