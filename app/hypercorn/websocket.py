"""Fixes for hypercorn 0.18's WebSocket.

Does not know the app.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import h11
import structlog
from hypercorn.protocol.events import Body, Data, Event, Request, StreamClosed
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import ASGIWebsocketState, FrameTooLargeError, Handshake, WSStream
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import split_comma_header

log = structlog.get_logger(__name__)

LINGER_S = 1.0
"""How long a client that broke the protocol may take to read why."""
MAX_DISCARDED_BYTES = 1 << 20
"""How much more it may send meanwhile."""
EVENTS_IN_A_TURN = 64
"""How many frames of one connection are handled before others have their turn."""


def leave_the_handshake_to_the_app() -> None:
    """The application checks the opening handshake and answers a wrong one like any other error.

    hypercorn refuses it with an empty 400, whatever is wrong, and then neither closes the connection nor ever times it
    out; it takes a key of any length; and of several Sec-WebSocket-Protocol headers it reads only the last (RFC 6455,
    section 11.3.4: they are one list). Test: `tests/live/test_channel_door.py`.
    """
    initialise = Handshake.__init__

    def __init__(self: Handshake, headers: list[tuple[bytes, bytes]], http_version: str) -> None:
        initialise(self, headers, http_version)
        offers = [value for name, value in headers if name.lower() == b"sec-websocket-protocol"]
        self.subprotocols = [name for value in offers for name in split_comma_header(value) if name] or None

    Handshake.__init__ = __init__  # type: ignore[method-assign]
    Handshake.is_valid = lambda self: True  # type: ignore[method-assign]


def hold_what_comes_early() -> None:
    """What a client sends right after its handshake waits until that is answered, and is then handled.

    hypercorn answers 400 between the two, and leaves the connection open forever. Where the handshake is refused, the
    rest is dropped. The connection is not read meanwhile, so no more than one read is held.
    Test: `tests/live/test_channel_door.py::test_what_comes_with_the_handshake_is_served_after_it`.
    """
    handle, app_send = WSStream.handle, WSStream.app_send

    async def _handle(self: WSStream, event: Event) -> None:
        if isinstance(event, Request):
            self._twowire_answered = asyncio.Event()  # type: ignore[attr-defined]
        elif isinstance(event, StreamClosed):
            self._twowire_answered.set()  # type: ignore[attr-defined]
        elif isinstance(event, (Body, Data)) and not self.handshake.accepted:
            await self._twowire_answered.wait()  # type: ignore[attr-defined]
            if not self.handshake.accepted:
                return
        await handle(self, event)

    async def _app_send(self: WSStream, message: Any) -> None:
        await app_send(self, message)
        if message is None or self.state is not ASGIWebsocketState.HANDSHAKE:
            self._twowire_answered.set()  # type: ignore[attr-defined]

    WSStream.handle = _handle  # type: ignore[method-assign]
    WSStream.app_send = _app_send  # type: ignore[method-assign]


def never_compress() -> None:
    """Refuse every WebSocket extension, permessage-deflate above all (upstream issue 307: it is always negotiated).

    A compressed frame's length follows its text, a context per connection costs memory, and a bomb fits in a small
    frame. Test: `tests/live/test_channel_abuse.py`.
    """
    initialise = Handshake.__init__

    def __init__(self: Handshake, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        self.extensions = None

    Handshake.__init__ = __init__  # type: ignore[method-assign]


def close_with_a_code() -> None:
    """A client that breaks the protocol gets a close frame that says so, and its connection ends (RFC 6455, 7.1.7).

    1002 for an invalid frame, 1007 for text that is not UTF-8, 1009 for a message over the limit. hypercorn ends
    the connection without a frame in the first two cases; in the third it sends one, goes on collecting bytes, and
    tells the application nothing. It also handles all frames of one read in one turn of the event loop, some ten
    thousand where they are empty. Test: `tests/live/test_channel_abuse.py`.
    """

    async def _handle_events(self: WSStream) -> None:
        for number, event in enumerate(self.connection.events(), start=1):
            if isinstance(event, Message):
                try:
                    self.buffer.extend(event)
                except FrameTooLargeError:
                    await _fail(self, CloseReason.MESSAGE_TOO_BIG, "a message is larger than the limit")
                    return
                if event.message_finished:
                    await self.app_put(self.buffer.to_message())  # type: ignore[misc]  # set when the app was started
                    self.buffer.clear()
            elif isinstance(event, Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, CloseConnection):
                await _end(self, event)
                return
            if number % EVENTS_IN_A_TURN == 0:
                await asyncio.sleep(0)
                if self.closed:
                    return

    WSStream._handle_events = _handle_events  # type: ignore[method-assign]


async def _end(stream: WSStream, event: CloseConnection) -> None:
    """End a connection: wsproto reports the client's close, its reply to ours, or an invalid frame."""
    if stream.connection.state is ConnectionState.OPEN:
        is_text = event.code == CloseReason.INVALID_FRAME_PAYLOAD_DATA
        # wsproto's own words for text quote the bytes.
        await _fail(stream, event.code, "text that is not UTF-8" if is_text else event.reason)
        return
    if stream.connection.state is ConnectionState.REMOTE_CLOSING:
        await stream._send_wsproto_event(event.response())
    await stream.send(StreamClosed(stream_id=stream.stream_id))


async def _fail(stream: WSStream, code: int, reason: str | None) -> None:
    """Send the close frame, tell the application that its client is gone, and close once the client has read it.

    Closed while something unread has come, the connection would be reset, and the frame could be lost with it.
    """
    log.info("websocket_failed", code=int(code), reason=reason)
    await stream._send_wsproto_event(CloseConnection(code=code, reason=reason))
    protocol: H11Protocol = stream.send.__self__  # type: ignore[attr-defined]  # its `stream_send`
    writer = protocol.send.__self__.writer  # type: ignore[attr-defined]  # the connection's `protocol_send`
    protocol.connection = _Discard(writer.transport.abort)  # type: ignore[assignment]  # stands in for h11's
    asyncio.get_running_loop().call_later(LINGER_S, writer.transport.abort)
    with contextlib.suppress(NotImplementedError, OSError, RuntimeError):  # TLS has no half-closed connection.
        writer.write_eof()
    await protocol._close_stream()


class _Discard:
    """In place of the HTTP/1.1 connection below a WebSocket that has failed: what still comes is thrown away."""

    our_state = their_state = None
    they_are_waiting_for_100_continue = False
    trailing_data = (b"", False)

    def __init__(self, abort: Any) -> None:
        self._abort = abort
        self._left = MAX_DISCARDED_BYTES

    def receive_data(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            self._abort()

    def next_event(self) -> type[h11.NEED_DATA]:
        return h11.NEED_DATA

    def send(self, event: Any) -> bytes:
        return b""


def drop_what_nobody_reads() -> None:
    """Drop what a WebSocket's client sends after the application has ended.

    hypercorn puts it into the application's queue, and waits forever once that is full: the connection and its tasks
    stay, whatever becomes of the socket. Test: `tests/live/test_channel_abuse.py`.
    """
    app_send = WSStream.app_send

    async def _app_send(self: WSStream, message: Any) -> None:
        if message is None and self.app_put is not None:  # The application has ended.
            queue: asyncio.Queue[Any] = self.app_put.__self__  # type: ignore[attr-defined]  # the queue's own `put`
            self.app_put = _nowhere
            while not queue.empty():
                queue.get_nowait()  # Which also wakes the reader, if it waits for room.
        await app_send(self, message)

    WSStream.app_send = _app_send  # type: ignore[method-assign]


async def _nowhere(event: Any) -> None:
    pass
