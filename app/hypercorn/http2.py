"""HTTP/2 streams: fixes for hypercorn 0.18's `H2Protocol` and its `StreamBuffer`.

Each class is one fix and changes nothing else. `install` puts them together. They use the documented interface of h2,
which parses and frames.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import h2.errors
import h2.events
import h2.exceptions
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
"""How much of a body is read and discarded after its response; many clients read no response before they have sent."""


class BoundStreamBuffer(StreamBuffer):
    """hypercorn 0.18 takes any number of bytes for a stream whose window is closed; here `push` waits for room.

    hypercorn looks at how much it could send, not at how much waits.
    Test: `tests/live/fake/http/test_http2.py::test_a_closed_window_holds_bounded_memory`.
    """

    limit_s: float | None = None
    """How long `push` and `drain` wait while nothing is sent; None: without a limit."""

    def __init__(self, event_class: type[IOEvent]) -> None:
        super().__init__(event_class)
        self._moved = asyncio.Event()
        self._is_sent = False

    async def push(self, data: bytes) -> None:
        """Add `data`; return when there is room for more. Raises TimeoutError."""
        if self._complete:
            raise BufferCompleteError
        self.buffer.extend(data)
        while len(self.buffer) >= BUFFER_HIGH_WATER:
            await self._wait_until_moved()

    async def drain(self) -> None:
        """Return when everything has been sent. Raises TimeoutError."""
        while not self._is_sent:
            await self._wait_until_moved()

    async def _wait_until_moved(self) -> None:
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


class EndStuckStreams(H2Protocol):
    """hypercorn 0.18 waits forever for a client that opens no window; here the stream ends after `send_timeout_s`.

    And where the connection ends, hypercorn does not wake what waits for a window.
    Test: `tests/live/fake/limits/test_stuck_readers.py`.
    """

    async def _create_stream(self, request: h2.events.RequestReceived) -> None:
        await super()._create_stream(request)
        buffer = self.stream_buffers.get(request.stream_id)
        if isinstance(buffer, BoundStreamBuffer):
            buffer.limit_s = send_timeout_s(self.config)

    async def stream_send(self, event: StreamEvent) -> None:
        try:
            await super().stream_send(event)
        except TimeoutError:
            log.info("stream_cut", reason=f"its client read nothing for {send_timeout_s(self.config):g} s")
            await _reset(self, event.stream_id, h2.errors.ErrorCodes.CANCEL)
            await self._close_stream(event.stream_id)

    async def handle(self, event: Event) -> None:
        await super().handle(event)
        if isinstance(event, Closed):
            for buffer in list(self.stream_buffers.values()):
                await buffer.close()


async def _reset(protocol: H2Protocol, stream_id: int, code: h2.errors.ErrorCodes) -> None:
    """Reset a stream, and drop what still waits to be sent on it."""
    try:
        protocol.connection.reset_stream(stream_id, code)
    except h2.exceptions.ProtocolError:
        pass  # It has ended, or the connection has.
    buffer = protocol.stream_buffers.get(stream_id)
    if buffer is not None:
        await buffer.close()
        # The sending task finds the stream closed, and removes it.
        await protocol._window_updated(stream_id)
    await protocol._flush()


class ResetUnfinishedResponses(H2Protocol):
    """hypercorn 0.18 sends nothing when the application ends amid a response, so its client waits; here it is reset.

    Test: `tests/app/hypercorn/test_http2_answers.py::test_an_answer_that_breaks_off_is_reset`.
    """

    async def stream_send(self, event: StreamEvent) -> None:
        if isinstance(event, StreamClosed):
            buffer = self.stream_buffers.get(event.stream_id)
            if buffer is not None and not buffer._complete:
                await _reset(self, event.stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
        await super().stream_send(event)


class DiscardLateBodies(H2Protocol):
    """hypercorn 0.18 ends the whole connection when a body comes after its response (upstream issues 329, 334).

    Here it is discarded, so that a client that sends first and reads then gets the response. Beyond
    `MAX_DISCARDED_BYTES` the client is asked to stop (RFC 9113, section 8.1).
    Test: `tests/live/fake/http/test_http2.py::test_an_early_answer_leaves_the_neighbours_alone`.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._discarded: Counter[int] = Counter()
        """Bytes, by stream."""

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        # One by one: while one is handled, the stream of the next may end.
        for event in events:
            if isinstance(event, h2.events.DataReceived) and event.stream_id not in self.streams:
                await self._discard(event)
            else:
                await super()._handle_events([event])
            if isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                self._discarded.pop(event.stream_id, None)
        await self._flush()

    async def _discard(self, event: h2.events.DataReceived) -> None:
        discarded = self._discarded
        discarded[event.stream_id] += event.flow_controlled_length
        self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if discarded[event.stream_id] > MAX_DISCARDED_BYTES:
            del discarded[event.stream_id]
            await _reset(self, event.stream_id, h2.errors.ErrorCodes.NO_ERROR)


class RefuseBadRequests(H2Protocol):
    """hypercorn 0.18 ends the whole connection on some requests; here they are answered with an error.

    These are a path or method that is not ASCII, a path without a slash, and CONNECT. Nor is CONNECT for WebSockets
    (RFC 8441) offered: hypercorn answers pings in the task that reads for all streams, so that one client that reads no
    pong would stop them all. Browsers then open an HTTP/1.1 connection for it.
    Tests: `tests/live/fake/http/test_http2.py`.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        settings = {code: self.connection.local_settings[code] for code in _ANNOUNCED}
        self.connection.local_settings = Settings(client=False, initial_values=settings)

    async def _create_stream(self, request: h2.events.RequestReceived) -> None:
        fields = dict(request.headers or [])
        status = _refusal(fields)
        if status is None:
            await super()._create_stream(request)
            return
        body = error_bytes(refusal_of(status, "", self.config))
        headers = [
            (b":status", b"%d" % status),
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            *self.config.response_headers("h2"),
        ]
        is_head = fields[b":method"] == b"HEAD"
        self.connection.send_headers(request.stream_id, headers, end_stream=is_head)
        if is_head:
            pass
        elif len(body) <= self.connection.local_flow_control_window(request.stream_id):
            self.connection.send_data(request.stream_id, body, end_stream=True)
        else:  # The client's window is too small, and nothing here waits for a larger one.
            self.connection.reset_stream(request.stream_id, h2.errors.ErrorCodes.PROTOCOL_ERROR)
        await self._flush()


_ANNOUNCED = (SettingCodes.MAX_CONCURRENT_STREAMS, SettingCodes.MAX_HEADER_LIST_SIZE)


def _refusal(headers: dict[bytes, bytes]) -> int | None:
    """The status that refuses a request with these headers; None: it is not refused."""
    method, path = headers[b":method"], headers.get(b":path", b"")
    if method == b"CONNECT":
        return 501
    if not method.isascii() or not path.isascii() or not (path.startswith(b"/") or path == b"*"):
        return 400
    return None


class IgnorePriorities(H2Protocol):
    """hypercorn 0.18 keeps a tree of priorities, which a client can fill until the connection ends with an exception.

    Here they are ignored, as RFC 9113, section 5.3.2, allows; all streams take turns.
    Test: `tests/live/fake/http/test_http2.py::test_priorities_of_many_streams_do_no_harm`.
    """

    async def _priority_updated(self, event: h2.events.PriorityUpdated) -> None:
        pass


class GoIdleAfterResets(H2Protocol):
    """hypercorn 0.18 starts the idle time only after a response; here also when the last stream is reset or refused.

    Test: `test_a_connection_is_idle_when_its_last_stream_was_reset_or_refused` in
    `tests/app/hypercorn/test_http2_answers.py`.
    """

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        await super()._handle_events(events)
        if self.idle and any(isinstance(event, _MAY_BE_LAST) for event in events):
            await self.send(Updated(idle=True))


_MAY_BE_LAST = (h2.events.StreamReset, h2.events.RequestReceived)
