"""Responses are written as h11 writes them, or by h11."""

from __future__ import annotations

from typing import Any

import h11
import pytest

from app.hypercorn.plain import responses
from app.hypercorn.plain.responses import ShortenResponses
from tests.app.hypercorn.plain.both import seen
from tests.live.clients.raw import request_bytes

Headers = list[tuple[bytes, bytes]]


def asked(raw: bytes) -> h11.Connection:
    """h11's connection that has read a request."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    while connection.next_event() not in (h11.NEED_DATA, h11.PAUSED):
        pass
    return connection


GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
PLAIN: dict[str, tuple[int, Headers]] = {
    "a stream": (200, [(b"content-type", b"text/event-stream"), (b"X-Empty", b""), (b"x-high", b"\xe9 \x01")]),
    "a body": (404, [(b"Content-Length", b"4"), (b"x-twice", b"1"), (b"x-twice", b"2")]),
}
ODD: dict[str, tuple[bytes, int, Headers]] = {
    "HEAD": (b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n", 200, []),
    "HTTP/1.0": (b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n", 200, []),
    "the last request": (b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 200, []),
    "an upgrade": (b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n", 200, []),
    "an expectation": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        *(200, []),
    ),
    "no content": (GET, 204, []),
    "not modified": (GET, 304, []),
    "an end of the connection": (GET, 200, [(b"connection", b"close")]),
    "a coding": (GET, 200, [(b"Transfer-Encoding", b"chunked")]),
    "two lengths": (GET, 200, [(b"content-length", b"4"), (b"content-length", b"4")]),
    "an odd length": (GET, 200, [(b"content-length", b"+4")]),
    "a line feed in a value": (GET, 200, [(b"x-id", b"a\nb: c")]),
    "a line in a value": (GET, 200, [(b"x-id", b"a\r\nb: c")]),
    "a zero byte": (GET, 200, [(b"x-id", b"a\x00")]),
    "a space at the end": (GET, 200, [(b"x-id", b"a ")]),
    "a colon in a name": (GET, 200, [(b"x: y", b"a")]),
    "no name": (GET, 200, [(b"", b"a")]),
}


@pytest.mark.parametrize(("status", "headers"), PLAIN.values(), ids=PLAIN)
def test_a_plain_response_is_written_as_h11_writes_it(status: int, headers: Headers) -> None:
    ours, theirs = asked(GET), asked(GET)
    head = responses._head(ours, status, headers)
    assert head == theirs.send(h11.Response(status_code=status, headers=headers))
    assert ours.states == theirs.states
    for part in (b"ab", b"cd"):
        assert responses._part(ours, part) == theirs.send(h11.Data(data=part))
    assert responses._end(ours) == theirs.send(h11.EndOfMessage())
    assert ours.states == theirs.states
    ours.start_next_cycle()


@pytest.mark.parametrize(("raw", "status", "headers"), ODD.values(), ids=ODD)
def test_what_is_not_plain_is_left_to_h11(raw: bytes, status: int, headers: Headers) -> None:
    connection = asked(raw)
    before = connection.states
    assert responses._head(connection, status, headers) is None
    assert connection.states == before


def test_a_body_that_is_longer_or_shorter_than_its_length_is_left_to_h11() -> None:
    connection = asked(GET)
    assert responses._head(connection, 200, [(b"content-length", b"4")])
    assert responses._end(connection) is None
    assert responses._part(connection, b"abcde") is None
    assert responses._part(connection, b"abc") == b"abc"
    assert responses._part(connection, b"de") is None
    assert responses._end(connection) is None


async def test_h11_does_not_write_a_plain_response(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(connection: Any, event: Any) -> bytes:
        raise AssertionError("h11 was asked")

    raw = request_bytes("/plain", {"a": 1})
    usual = await seen([raw])
    monkeypatch.setattr(h11.Connection, "send", write)
    assert (await seen([raw])).sent == usual.sent
    with pytest.raises(BaseExceptionGroup):
        await seen([raw], without=[ShortenResponses])
