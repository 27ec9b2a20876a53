"""HTTP/1.1 connections: fixes for hypercorn 0.18's `H11Protocol`.

Each class is one fix and changes nothing else. `install` puts them together.
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
"""How much a client may send ahead while it waits for a response, before its connection is closed."""


class CloseAfterTwoLengths(H11Protocol):
    """h11 0.16 goes on after a request with both Content-Length and Transfer-Encoding; here it is the last.

    RFC 9112, section 6.1: a proxy in front may have read the other length, and what it takes for the body would be our
    next request. Test: `tests/live/real/http/test_bad_http.py::test_length_and_chunks_together_end_the_connection`.
    """

    async def _create_stream(self, request: h11.Request) -> None:
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in request.headers}:
            _respond_with_close(self)
        await super()._create_stream(request)


def _respond_with_close(protocol: H11Protocol) -> None:
    # From this number on, hypercorn adds `Connection: close` to a response.
    protocol.keep_alive_requests = protocol.config.keep_alive_max_requests


class JoinConnectionHeaders(H11Protocol):
    """hypercorn 0.18 reads only the last of several Connection or Upgrade headers; here they are one list.

    RFC 9110, section 5.3. Otherwise the order in which a proxy wrote them decides whether a WebSocket opens.
    Test: `tests/live/fake/channel/test_channel_door.py::test_a_handshake_may_be_written_in_other_ways`.
    """

    async def _create_stream(self, request: h11.Request) -> None:
        names = [name for name, _ in request.headers]
        if any(names.count(name) > 1 for name in (b"connection", b"upgrade")):
            request = _joined(request)
        await super()._create_stream(request)


def _joined(request: h11.Request) -> h11.Request:
    headers: list[tuple[bytes, bytes]] = []
    for joined in (b"connection", b"upgrade"):
        values = [value for name, value in request.headers if name == joined]
        headers += [(joined, b", ".join(values))] if values else []
    headers += [(name, value) for name, value in request.headers if name not in (b"connection", b"upgrade")]
    return h11.Request(method=request.method, target=request.target, headers=headers, http_version=request.http_version)


class AnnounceClose(H11Protocol):
    """hypercorn 0.18 closes a connection after some responses that do not say so; here they do.

    RFC 9112, section 9.6. These are responses sent before the end of their request, as when the path or the key is
    refused, and those that refuse a WebSocket. A client that reuses connections might send its next request into the
    closing one.
    Test: `tests/live/real/http/test_bad_http.py::test_an_answer_before_the_bodys_end_says_that_it_is_the_last`.
    """

    async def stream_send(self, event: StreamEvent) -> None:
        if isinstance(event, Response) and event.status_code >= 200 and _is_last(self):
            _respond_with_close(self)
        await super().stream_send(event)


def _is_last(protocol: H11Protocol) -> bool:
    connection = protocol.connection
    return not isinstance(connection, h11.Connection) or connection.their_state is h11.SEND_BODY


class ReadWhileResponding(H11Protocol):
    """hypercorn 0.18 stops reading when a pipelined request arrives, and so does not see that the client is gone.

    The first request's generation would run to its end. Here reading goes on, up to `MAX_PIPELINED_BYTES`, and the
    second request begins when the first response is done.
    Tests: `tests/live/real/http/test_disconnect.py::test_pipelined_client_that_leaves`,
    `tests/app/hypercorn/test_http1_requests.py::test_a_request_that_is_taken_up_when_its_client_is_gone_ends`.
    """

    can_read: _NeverWait

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.can_read = _NeverWait(self)

    async def handle(self, event: Event) -> None:
        if isinstance(event, Closed):
            self.can_read.is_over = True
        await super().handle(event)

    async def _handle_events(self) -> None:
        async with self.can_read.lock:
            try:
                await super()._handle_events()
            except _Paused:
                if len(self.connection.trailing_data[0]) > MAX_PIPELINED_BYTES:
                    # First end the response: a client that does not read can keep the socket from closing.
                    await self.handle(Closed())
                    await self.send(Closed())


class _Paused(Exception):
    """h11 holds the beginning of a request that must wait for the response before it."""


class _NeverWait:
    """In place of the event on which hypercorn's reader would wait: it stops handling events instead."""

    def __init__(self, protocol: H11Protocol) -> None:
        self.lock = asyncio.Lock()
        self.is_over = False
        """The connection has ended, and its stream knows."""
        self._protocol = protocol

    async def clear(self) -> None:
        pass

    async def wait(self) -> None:
        raise _Paused

    def is_set(self) -> bool:
        return False

    async def set(self) -> None:
        """Called when a response is done: handle what has come meanwhile."""
        if isinstance(self._protocol.connection, h11.Connection) and self._protocol.connection.trailing_data[0]:
            self._protocol.task_group.spawn(self._resume)

    async def _resume(self) -> None:
        try:
            if not self.is_over:
                await self._protocol._handle_events()
            if self.is_over:  # Since the check above; nothing else would end the stream that has begun meanwhile.
                await self._protocol._close_stream()
        except (H2CProtocolRequiredError, H2ProtocolAssumedError):
            # A change of protocol cannot be pipelined: only the reading task could make it.
            await self._protocol.send(Closed())


class IgnoreH2cUpgrade(H11Protocol):
    """hypercorn 0.18 accepts `Upgrade: h2c`, which RFC 9113, section 3.1, has abolished; here HTTP/1.1 answers.

    hypercorn passes on the HTTP/1.1 headers unchecked, two Host headers among them, so that the request is refused.
    HTTP/2 by prior knowledge stays.
    Test: `tests/live/fake/http/test_http2_clients.py::test_an_offer_of_h2c_is_answered_over_http1`.
    """

    async def _check_protocol(self, event: h11.Request) -> None:
        if event.method == b"PRI":
            await super()._check_protocol(event)


class LimitHeaderTime(H11Protocol):
    """hypercorn 0.18 lets the headers of a request take any time; here they have `header_timeout_s`.

    Its only limit is the idle time, which is long here, and which each request starts anew.
    Test: `tests/live/fake/limits/test_connection_limits.py::test_headers_that_do_not_end_in_time_are_refused`.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._header_timer = _HeaderTimer(self)

    async def handle(self, event: Event) -> None:
        try:
            await super().handle(event)
        finally:
            self._header_timer.set(is_running=not isinstance(event, Closed) and _is_amid_headers(self))


def _is_amid_headers(protocol: H11Protocol) -> bool:
    connection = protocol.connection
    return (
        isinstance(connection, h11.Connection)
        and connection.their_state is h11.IDLE
        and bool(connection.trailing_data[0])
    )


class _HeaderTimer:
    """Ends a connection whose client began a request and did not finish its headers."""

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
