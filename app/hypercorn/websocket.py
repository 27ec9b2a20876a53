"""WebSockets: fixes for hypercorn 0.18's `WSStream` and its `Handshake`.

Each class is one fix and changes nothing else. `install` puts them together.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import h11
import structlog
from hypercorn.protocol.events import Body, Data, Event, StreamClosed
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import ASGIWebsocketState, FrameTooLargeError, Handshake, WSStream
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import split_comma_header

from app.hypercorn.connection import connection_of

log = structlog.get_logger(__name__)

LINGER_S = 1.0
"""How long a client that broke the protocol may take to read why."""
MAX_DISCARDED_BYTES = 1 << 20
"""How much more it may send meanwhile."""
EVENTS_IN_A_TURN = 64
"""How many frames of one connection are handled before others get a turn."""


class LetAppCheckHandshake(Handshake):
    """hypercorn 0.18 refuses a wrong handshake with an empty 400; here the application answers it like other errors.

    After the 400, hypercorn neither closes the connection nor ever times it out. It takes a key of any length, and
    reads only the last of several Sec-WebSocket-Protocol headers, which are one list (RFC 6455, section 11.3.4).
    Test: `tests/live/fake/channel/test_channel_door.py`.
    """

    def __init__(self, headers: list[tuple[bytes, bytes]], http_version: str) -> None:
        super().__init__(headers, http_version)
        offers = [value for name, value in headers if name.lower() == b"sec-websocket-protocol"]
        self.subprotocols = [name for value in offers for name in split_comma_header(value) if name] or None

    def is_valid(self) -> bool:
        return True


class RefuseExtensions(Handshake):
    """hypercorn 0.18 always negotiates permessage-deflate (upstream issue 307); here every extension is refused.

    The length of a compressed frame depends on its text, each connection's context costs memory, and a small frame can
    be a bomb. Tests: `tests/live/fake/channel/test_channel_abuse.py`, `tests/live/fake/channel/test_channel_end.py`.
    """

    def __init__(self, headers: list[tuple[bytes, bytes]], http_version: str) -> None:
        super().__init__(headers, http_version)
        self.extensions = None


class HoldEarlyFrames(WSStream):
    """hypercorn 0.18 answers 400 to frames that come right after a handshake, and leaves the connection open forever.

    Here they wait until the handshake is answered, and are dropped if it is refused. The connection is not read
    meanwhile, so no more than one read is held.
    Test: `tests/live/fake/channel/test_channel_door.py::test_what_comes_with_the_handshake_is_served_after_it`.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._answered = asyncio.Event()

    async def handle(self, event: Event) -> None:
        if isinstance(event, StreamClosed):
            self._answered.set()
        elif isinstance(event, (Body, Data)) and not self.handshake.accepted:
            await self._answered.wait()
            if not self.handshake.accepted:
                return
        await super().handle(event)

    async def app_send(self, message: Any) -> None:
        await super().app_send(message)
        if message is None or self.state is not ASGIWebsocketState.HANDSHAKE:
            self._answered.set()


class CloseWithCode(WSStream):
    """hypercorn 0.18 does not tell a client that it broke the protocol; here a close frame does.

    RFC 6455, section 7.1.7: 1002 for an invalid frame, 1007 for text that is not UTF-8, 1009 for a message over the
    limit. hypercorn ends the connection without a frame in the first two cases. In the third it sends one, goes on
    collecting bytes, and tells the application nothing. It also handles all frames of one read in one turn of the event
    loop, some ten thousand if they are empty. Tests: `tests/live/fake/channel/test_channel_abuse.py`,
    `tests/live/fake/channel/test_channel_end.py`.
    """

    async def _handle_events(self) -> None:
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


async def _end(stream: WSStream, event: CloseConnection) -> None:
    """End a connection: wsproto reports the client's close, its reply to ours, or an invalid frame."""
    if stream.connection.state is ConnectionState.OPEN:
        is_text = event.code == CloseReason.INVALID_FRAME_PAYLOAD_DATA
        # wsproto's reason for text quotes the bytes.
        await _fail(stream, event.code, "text that is not UTF-8" if is_text else event.reason)
        return
    if stream.connection.state is ConnectionState.REMOTE_CLOSING:
        await stream._send_wsproto_event(event.response())
    await stream.send(StreamClosed(stream_id=stream.stream_id))


async def _fail(stream: WSStream, code: int, reason: str | None) -> None:
    """Send the close frame, tell the application that its client is gone, and close once the client has read it.

    Closing with unread data would reset the connection, and the frame could be lost.
    """
    log.info("websocket_failed", code=int(code), reason=reason)
    await stream._send_wsproto_event(CloseConnection(code=code, reason=reason))
    protocol: H11Protocol = stream.send.__self__  # type: ignore[attr-defined]  # its `stream_send`
    connection = connection_of(stream)
    assert connection is not None
    writer = connection.writer
    protocol.connection = _Discard(writer.transport.abort)  # type: ignore[assignment]  # stands in for h11's
    asyncio.get_running_loop().call_later(LINGER_S, writer.transport.abort)
    with contextlib.suppress(NotImplementedError, OSError, RuntimeError):  # TLS has no half-closed connection.
        writer.write_eof()
    await protocol._close_stream()


class _Discard:
    """In place of the HTTP/1.1 connection below a WebSocket that has failed: it drops whatever still comes."""

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


class DropUnreadMessages(WSStream):
    """hypercorn 0.18 keeps putting a client's messages into the queue of an application that has ended.

    Once the queue is full, it waits forever: the connection and its tasks stay, whatever becomes of the socket. Here
    the messages are dropped. Tests: `test_channel_abuse.py` and `test_channel_end.py` in `tests/live/fake/channel`.
    """

    async def app_send(self, message: Any) -> None:
        if message is None and self.app_put is not None:  # The application has ended.
            queue: asyncio.Queue[Any] = self.app_put.__self__  # type: ignore[attr-defined]  # the queue's own `put`
            self.app_put = _drop
            while not queue.empty():
                queue.get_nowait()  # This also wakes the reader, if it waits for room.
        await super().app_send(message)


async def _drop(event: Any) -> None:
    pass
