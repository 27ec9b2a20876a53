"""A way past hypercorn 0.18 for the parts of an answer that is under way: framed here, written to the socket at once.

Does not know the app. A part that goes through hypercorn passes some ten functions and two protocol libraries, and the
task that sends it waits in between; for a token that costs more than everything else. Where an answer has begun, its
parts are the same few bytes of frame each time (RFC 9112, section 7.1; RFC 9113, section 6.1; RFC 6455, section 5.2),
and neither h11 nor wsproto keeps count of them; h2 counts windows, which are counted here too.

Whoever writes so must have sent the beginning in the usual way, and be the one who would send now. When the socket, or
an HTTP/2 window, does not take what was written before, or the answer is in any other state, nothing is written: the
usual way waits, and cuts who does not read. Both ways lead through the connection's outlet, which keeps their order.
Tests: `tests/app/hypercorn/test_fast_write.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import h11
from hypercorn.protocol.events import Event, Request
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from hypercorn.typing import ConnectionState as State
from wsproto.connection import ConnectionState

from app.hypercorn.write_buffer import Outlet

STREAM_KEY = "twowire.stream"

SMALL, MEDIUM = 126, 1 << 16
"""Below these a WebSocket's length stands in one byte, and in two more (RFC 6455, section 5.2)."""


class FastWriter(Protocol):
    """Writes parts of one answer."""

    def write(self, part: bytes) -> bool:
        """Send `part`, which is not empty; False: it cannot be sent at once, and nothing was."""


def let_the_app_write() -> None:
    """Let `fast_writer_of` find the stream of an ASGI scope, which has no other way to it."""
    for kind in (HTTPStream, WSStream):
        _name_the_stream(kind)


def _name_the_stream(kind: Any) -> None:
    handle = kind.handle

    async def _handle(self: Any, event: Event) -> None:
        if isinstance(event, Request):
            # hypercorn copies the state into the scope.
            event = replace(event, state=State({**event.state, STREAM_KEY: self}))
        await handle(self, event)

    kind.handle = _handle


def fast_writer_of(scope: Any) -> FastWriter | None:
    """The short way to the socket for the answer of an ASGI scope; None where there is none.

    Under a server without the fixes of `apply` there is none.
    """
    stream = scope.get("state", {}).get(STREAM_KEY)
    protocol = getattr(getattr(stream, "send", None), "__self__", None)
    server = getattr(getattr(protocol, "send", None), "__self__", None)
    outlet = getattr(getattr(server, "writer", None), "outlet", None)
    if outlet is None:
        return None
    if isinstance(stream, WSStream) and isinstance(protocol, H11Protocol):
        return _WebSocket(stream, outlet)
    if not isinstance(stream, HTTPStream) or scope["method"] == "HEAD":
        return None
    if isinstance(protocol, H2Protocol):
        return _Http2(stream, protocol, outlet)
    # Before HTTP/1.1 there are no chunks.
    if isinstance(protocol, H11Protocol) and scope["http_version"] == "1.1":
        return _Http1(stream, protocol, outlet)
    return None


class _Http1:
    """Chunks of a body without a length, as the streams here have it."""

    def __init__(self, stream: HTTPStream, protocol: H11Protocol, outlet: Outlet) -> None:
        self._stream = stream
        self._protocol = protocol
        self._outlet = outlet

    def write(self, part: bytes) -> bool:
        if (
            self._stream.state is not ASGIHTTPState.RESPONSE
            or self._stream.closed
            or self._protocol.connection.our_state is not h11.SEND_BODY
            or not self._outlet.is_taking
        ):
            return False
        self._outlet.write_now(b"%x\r\n%b\r\n" % (len(part), part))
        return True


class _Http2:
    """DATA frames. The windows are h2's own numbers (h2 4.4), from which it takes what it sends itself."""

    def __init__(self, stream: HTTPStream, protocol: H2Protocol, outlet: Outlet) -> None:
        self._stream = stream
        self._protocol = protocol
        self._outlet = outlet
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
            or not self._outlet.offer(size.to_bytes(3, "big") + self._after_size, part)
        ):
            return False
        window.outbound_flow_control_window -= size
        connection.outbound_flow_control_window -= size
        return True


class _WebSocket:
    """Text messages, unmasked and in one frame each."""

    def __init__(self, stream: WSStream, outlet: Outlet) -> None:
        self._stream = stream
        self._outlet = outlet

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
        return self._outlet.offer(head, part)
