"""Fixes for hypercorn 0.18's HTTP/1.1.

Does not know the app.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from hypercorn.events import Closed, Event
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Response
from hypercorn.protocol.h11 import H2CProtocolRequiredError, H2ProtocolAssumedError, H11Protocol

from app.hypercorn.config import header_timeout_s

MAX_PIPELINED_BYTES = 64 * 1024
"""What a client may send ahead while it waits for an answer, before it is cut off."""


def close_after_two_lengths() -> None:
    """A request with both Content-Length and Transfer-Encoding is its connection's last (RFC 9112, section 6.1).

    A proxy in front may have read the other length; what it takes for the body would be our next request. h11 0.16
    takes the chunks, and goes on.
    Test: `tests/live/test_bad_http.py::test_length_and_chunks_together_end_the_connection`.
    """
    create = H11Protocol._create_stream

    async def _create_stream(self: H11Protocol, request: h11.Request) -> None:
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in request.headers}:
            _answer_with_close(self)
        await create(self, request)

    H11Protocol._create_stream = _create_stream  # type: ignore[method-assign]


def _answer_with_close(protocol: H11Protocol) -> None:
    # From this number on, hypercorn answers with `Connection: close`.
    protocol.keep_alive_requests = protocol.config.keep_alive_max_requests


def join_connection_headers() -> None:
    """Several Connection headers, or Upgrade headers, are one list (RFC 9110, section 5.3).

    hypercorn reads only the last: whether a WebSocket opens depends on the order in which a proxy wrote them.
    Test: `tests/live/test_channel_door.py::test_a_handshake_may_be_written_in_other_ways`.
    """
    create = H11Protocol._create_stream

    async def _create_stream(self: H11Protocol, request: h11.Request) -> None:
        names = [name for name, _ in request.headers]
        if any(names.count(name) > 1 for name in (b"connection", b"upgrade")):
            request = _joined(request)
        await create(self, request)

    H11Protocol._create_stream = _create_stream  # type: ignore[method-assign]


def _joined(request: h11.Request) -> h11.Request:
    headers: list[tuple[bytes, bytes]] = []
    for joined in (b"connection", b"upgrade"):
        values = [value for name, value in request.headers if name == joined]
        headers += [(joined, b", ".join(values))] if values else []
    headers += [(name, value) for name, value in request.headers if name not in (b"connection", b"upgrade")]
    return h11.Request(method=request.method, target=request.target, headers=headers, http_version=request.http_version)


def tell_of_an_early_end() -> None:
    """An answer after which hypercorn closes the connection says so (RFC 9112, section 9.6).

    That is one that comes before the end of its request, as a refusal by the path or the key alone may, or one that
    refuses a WebSocket. hypercorn does not say so: a client that keeps its connections may send its next request
    into the end of this one.
    Test: `tests/live/test_bad_http.py::test_an_answer_before_the_bodys_end_says_that_it_is_the_last`.
    """
    stream_send = H11Protocol.stream_send

    async def _stream_send(self: H11Protocol, event: StreamEvent) -> None:
        if isinstance(event, Response) and event.status_code >= 200 and _is_last(self):
            _answer_with_close(self)
        await stream_send(self, event)

    H11Protocol.stream_send = _stream_send  # type: ignore[method-assign]


def _is_last(protocol: H11Protocol) -> bool:
    connection = protocol.connection
    return not isinstance(connection, h11.Connection) or connection.their_state is h11.SEND_BODY


def read_on_while_answering() -> None:
    """A second request sent before the first answer's end must not hide that the client is gone.

    hypercorn stops reading when a pipelined request arrives, so the end of the connection goes unseen and the first
    generation runs on to its end. Fix: read on, bounded, and take the second request up when the first answer is
    done. Tests: `tests/live/test_disconnect.py::test_pipelined_client_that_leaves`,
    `tests/app/hypercorn/test_http1_requests.py::test_a_request_that_is_taken_up_when_its_client_is_gone_ends`.
    """
    initialise, handle = H11Protocol.__init__, H11Protocol.handle
    handle_events = H11Protocol._handle_events

    def __init__(self: H11Protocol, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        self.can_read = _ReadOn(self)  # type: ignore[assignment]  # stands in for hypercorn's event

    async def _handle(self: H11Protocol, event: Event) -> None:
        if isinstance(event, Closed):
            can_read: Any = self.can_read
            can_read.is_over = True
        await handle(self, event)

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
    H11Protocol.handle = _handle  # type: ignore[method-assign]
    H11Protocol._handle_events = _handle_events  # type: ignore[method-assign]


class _Paused(Exception):
    """h11 holds the beginning of a request that must wait for the answer before it."""


class _ReadOn:
    """In place of the event on which hypercorn's reader would wait: it leaves the events for later instead."""

    def __init__(self, protocol: H11Protocol) -> None:
        self.lock = asyncio.Lock()
        self.is_over = False
        """The connection has ended, and the work begun on it has been notified."""
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
            if not self.is_over:
                await self._protocol._handle_events()
            if self.is_over:  # Since the check above. Nothing else would end what was begun meanwhile.
                await self._protocol._close_stream()
        except (H2CProtocolRequiredError, H2ProtocolAssumedError):
            # A change of protocol cannot be pipelined; the reader, which could make one, is elsewhere.
            await self._protocol.send(Closed())


def ignore_h2c_upgrades() -> None:
    """`Upgrade: h2c` is answered over HTTP/1.1, as RFC 9113, section 3.1, has it.

    hypercorn takes the upgrade, and hands on the HTTP/1.1 headers unchecked: two Host headers among them, so that the
    request is refused. Prior knowledge of HTTP/2 stays.
    Test: `tests/live/test_http2_clients.py::test_an_offer_of_h2c_is_answered_over_http1`.
    """
    check = H11Protocol._check_protocol

    async def _check_protocol(self: H11Protocol, event: h11.Request) -> None:
        if event.method == b"PRI":
            await check(self, event)

    H11Protocol._check_protocol = _check_protocol  # type: ignore[method-assign]


def end_slow_headers() -> None:
    """The headers of a request must come within a time.

    hypercorn's only limit is that of an idle connection, which is long here, and which an answered request renews.
    Test: `tests/live/test_connection_limits.py::test_headers_that_do_not_end_in_time_are_refused`.
    """
    handle = H11Protocol.handle

    async def _handle(self: H11Protocol, event: Event) -> None:
        try:
            await handle(self, event)
        finally:
            clock: _HeaderClock = self.__dict__.setdefault("_twowire_headers", _HeaderClock(self))
            clock.set(is_running=not isinstance(event, Closed) and _is_amid_headers(self))

    H11Protocol.handle = _handle  # type: ignore[method-assign]


def _is_amid_headers(protocol: H11Protocol) -> bool:
    connection = protocol.connection
    return (
        isinstance(connection, h11.Connection)
        and connection.their_state is h11.IDLE
        and bool(connection.trailing_data[0])
    )


class _HeaderClock:
    """Ends a connection whose client began a request and did not come to the end of its headers."""

    def __init__(self, protocol: H11Protocol) -> None:
        self._protocol = protocol
        self._timer: asyncio.TimerHandle | None = None

    def set(self, *, is_running: bool) -> None:
        if is_running and self._timer is None:
            limit_s = header_timeout_s(self._protocol.config)
            spawn = self._protocol.task_group.spawn
            self._timer = asyncio.get_running_loop().call_later(limit_s, spawn, self._end)
        elif not is_running and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _end(self) -> None:
        if _is_amid_headers(self._protocol):
            await self._protocol._send_error_response(408)
            await self._protocol.send(Closed())
