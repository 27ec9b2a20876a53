"""Fixes for hypercorn 0.18's HTTP/2.

Does not know the app. Of h2, which parses and frames, it uses the documented interface.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import h2.errors
import h2.events
import h2.exceptions
import hypercorn.protocol.h2 as hypercorn_h2
import structlog
from h2.settings import SettingCodes, Settings
from hypercorn.events import Closed, Event, Updated
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.h2 import BUFFER_HIGH_WATER, BufferCompleteError, H2Protocol, StreamBuffer
from hypercorn.typing import Event as IOEvent

from app.hypercorn.config import send_timeout_s
from app.hypercorn.http1_requests import refusal_of
from protocol.errors import error_bytes

log = structlog.get_logger(__name__)

MAX_DISCARDED_BYTES = 64 << 20
"""How much of a body is taken in and thrown away after its answer; many clients read no answer before that is sent."""


def wait_for_the_window() -> None:
    """A stream whose client takes nothing holds a bounded number of bytes, and is ended after `send_timeout_s`.

    hypercorn looks at how much it could send, not at how much waits: with a closed window it takes whatever it is
    given, without an end. And where the connection ends, whoever waits for such a window is not told.
    Tests: `tests/live/test_http2.py::test_a_closed_window_holds_bounded_memory`, `tests/live/test_stuck_readers.py`.
    """
    hypercorn_h2.StreamBuffer = BoundedBuffer  # type: ignore[misc]  # the name that the protocol looks up
    stream_send, handle, create = H2Protocol.stream_send, H2Protocol.handle, H2Protocol._create_stream

    async def _create_stream(self: H2Protocol, request: h2.events.RequestReceived) -> None:
        await create(self, request)
        buffer = self.stream_buffers.get(request.stream_id)
        if isinstance(buffer, BoundedBuffer):
            buffer.limit_s = send_timeout_s(self.config)

    async def _stream_send(self: H2Protocol, event: StreamEvent) -> None:
        try:
            await stream_send(self, event)
        except TimeoutError:
            log.info("stream_cut", reason=f"its client took nothing for {send_timeout_s(self.config):g} s")
            await _reset(self, event.stream_id, h2.errors.ErrorCodes.CANCEL)
            await self._close_stream(event.stream_id)

    async def _handle(self: H2Protocol, event: Event) -> None:
        await handle(self, event)
        if isinstance(event, Closed):
            for buffer in list(self.stream_buffers.values()):
                await buffer.close()

    H2Protocol._create_stream = _create_stream  # type: ignore[method-assign]
    H2Protocol.stream_send = _stream_send  # type: ignore[method-assign]
    H2Protocol.handle = _handle  # type: ignore[method-assign]


class BoundedBuffer(StreamBuffer):
    """In place of hypercorn's: `push` returns when there is room again, `drain` when all is sent."""

    def __init__(self, event_class: type[IOEvent]) -> None:
        super().__init__(event_class)
        self.limit_s: float | None = None
        self._moved = asyncio.Event()
        self._is_sent = False

    async def push(self, data: bytes) -> None:
        if self._complete:
            raise BufferCompleteError
        self.buffer.extend(data)
        while len(self.buffer) >= BUFFER_HIGH_WATER:
            await self._wait_until_moved()

    async def drain(self) -> None:
        while not self._is_sent:
            await self._wait_until_moved()

    async def _wait_until_moved(self) -> None:
        """Raises TimeoutError where nothing moves: each byte that leaves begins the time anew."""
        self._moved.clear()
        async with asyncio.timeout(self.limit_s):
            await self._moved.wait()

    async def pop(self, max_length: int) -> bytes:
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        self._is_sent = self.complete
        if data or self._is_sent:
            self._moved.set()
        return data

    async def close(self) -> None:
        self._complete = self._is_sent = True
        self.buffer = bytearray()
        self._moved.set()


async def _reset(protocol: H2Protocol, stream_id: int, code: h2.errors.ErrorCodes) -> None:
    """End a stream for its client, and drop what still waits to be sent on it."""
    try:
        protocol.connection.reset_stream(stream_id, code)
    except h2.exceptions.ProtocolError:
        pass  # It has ended, or the connection has.
    buffer = protocol.stream_buffers.get(stream_id)
    if buffer is not None:
        await buffer.close()
        # The task that sends finds the stream closed, and removes it.
        await protocol._window_updated(stream_id)
    await protocol._flush()


def end_what_the_app_left_open() -> None:
    """An answer that the application does not bring to its end is reset, so that its client does not wait for the rest.

    hypercorn forgets the stream, and sends nothing.
    Test: `tests/app/hypercorn/test_http2_answers.py::test_an_answer_that_breaks_off_is_reset`.
    """
    stream_send = H2Protocol.stream_send

    async def _stream_send(self: H2Protocol, event: StreamEvent) -> None:
        if isinstance(event, StreamClosed):
            buffer = self.stream_buffers.get(event.stream_id)
            if buffer is not None and not buffer._complete:
                await _reset(self, event.stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
        await stream_send(self, event)

    H2Protocol.stream_send = _stream_send  # type: ignore[method-assign]


def discard_what_comes_late() -> None:
    """A body that still comes after its answer is thrown away, and nothing else happens (upstream issues 329, 334).

    hypercorn ends the whole connection with a KeyError, all its other streams included. Fix: accept it, so that a
    client that sends first and reads then gets its answer, up to a bound; then it is asked to stop (RFC 9113, section
    8.1). Test: `tests/live/test_http2.py::test_an_early_answer_leaves_the_neighbours_alone`.
    """
    initialise, handle_events = H2Protocol.__init__, H2Protocol._handle_events

    def __init__(self: H2Protocol, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        self._twowire_discarded = Counter()  # type: ignore[attr-defined]  # bytes, by stream

    async def _handle_events(self: H2Protocol, events: list[h2.events.Event]) -> None:
        # One by one: while one is handled, the stream of the next may end.
        for event in events:
            if isinstance(event, h2.events.DataReceived) and event.stream_id not in self.streams:
                await _discard(self, event)
            else:
                await handle_events(self, [event])
            if isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                self._twowire_discarded.pop(event.stream_id, None)  # type: ignore[attr-defined]
        await self._flush()

    H2Protocol.__init__ = __init__  # type: ignore[method-assign]
    H2Protocol._handle_events = _handle_events  # type: ignore[method-assign]


async def _discard(protocol: H2Protocol, event: h2.events.DataReceived) -> None:
    discarded: Counter[int] = protocol._twowire_discarded  # type: ignore[attr-defined]
    discarded[event.stream_id] += event.flow_controlled_length
    protocol.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
    if discarded[event.stream_id] > MAX_DISCARDED_BYTES:
        del discarded[event.stream_id]
        await _reset(protocol, event.stream_id, h2.errors.ErrorCodes.NO_ERROR)


def refuse_odd_requests() -> None:
    """Some requests are answered here, because they must not reach hypercorn.

    A path or method that is not ASCII, or a path without a slash, raises in the middle of the connection, which ends
    with all its streams. A CONNECT does so, too, or asks for a WebSocket (RFC 8441): that is not offered, because
    hypercorn answers pings in the task that reads for all streams, and a client that takes no pong would stop it.
    Browsers then open a connection of HTTP/1.1 for it. Tests: `tests/live/test_http2.py`.
    """
    initialise, create = H2Protocol.__init__, H2Protocol._create_stream

    def __init__(self: H2Protocol, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        settings = {code: self.connection.local_settings[code] for code in _ANNOUNCED}
        self.connection.local_settings = Settings(client=False, initial_values=settings)

    async def _create_stream(self: H2Protocol, request: h2.events.RequestReceived) -> None:
        asked = dict(request.headers or [])
        status = _refusal(asked)
        if status is None:
            await create(self, request)
            return
        body = error_bytes(refusal_of(status, "", self.config))
        headers = [
            (b":status", b"%d" % status),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            *self.config.response_headers("h2"),
        ]
        is_head = asked[b":method"] == b"HEAD"
        self.connection.send_headers(request.stream_id, headers, end_stream=is_head)
        if is_head:
            pass
        elif len(body) <= self.connection.local_flow_control_window(request.stream_id):
            self.connection.send_data(request.stream_id, body, end_stream=True)
        else:  # The client's window is too small, and nothing here waits until it grows.
            self.connection.reset_stream(request.stream_id, h2.errors.ErrorCodes.PROTOCOL_ERROR)
        await self._flush()

    H2Protocol.__init__ = __init__  # type: ignore[method-assign]
    H2Protocol._create_stream = _create_stream  # type: ignore[method-assign]


_ANNOUNCED = (SettingCodes.MAX_CONCURRENT_STREAMS, SettingCodes.MAX_HEADER_LIST_SIZE)


def _refusal(headers: dict[bytes, bytes]) -> int | None:
    """The status for a request that is refused, by its headers."""
    method, path = headers[b":method"], headers.get(b":path", b"")
    if method == b"CONNECT":
        return 501
    if not method.isascii() or not path.isascii() or not (path.startswith(b"/") or path == b"*"):
        return 400
    return None


def ignore_priorities() -> None:
    """What a client says about priorities is ignored, as RFC 9113, section 5.3.2, allows; all streams take turns.

    hypercorn keeps a tree of them, which a client can fill until the connection ends with an exception.
    Test: `tests/live/test_http2.py::test_priorities_of_many_streams_do_no_harm`.
    """

    async def _priority_updated(self: H2Protocol, event: h2.events.PriorityUpdated) -> None:
        pass

    H2Protocol._priority_updated = _priority_updated  # type: ignore[method-assign]


def go_idle_after_resets() -> None:
    """A connection whose last stream was reset by its client, or refused here, is idle, and is closed when it stays so.

    hypercorn starts the timer only after an answer. Test: `tests/live/test_http2.py::test_a_connection_is_idle_…`.
    """
    handle_events = H2Protocol._handle_events

    async def _handle_events(self: H2Protocol, events: list[h2.events.Event]) -> None:
        await handle_events(self, events)
        if self.idle and any(isinstance(event, _LAST_WORDS) for event in events):
            await self.send(Updated(idle=True))

    H2Protocol._handle_events = _handle_events  # type: ignore[method-assign]


_LAST_WORDS = (h2.events.StreamReset, h2.events.RequestReceived)
