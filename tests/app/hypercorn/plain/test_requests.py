"""Plain requests are read as h11 reads them, and what is not plain is left to h11."""

from __future__ import annotations

import random
from typing import Any

import h11
import pytest

from app.hypercorn.plain.requests import ShortenRequests, plain_head
from tests.app.hypercorn.plain.both import SHORTCUTS, seen
from tests.fuzz.http1_bytes import sequences
from tests.live.clients.raw import request_bytes

CONNECTIONS = 200
LINE, HOST = b"POST /v1/chat/completions HTTP/1.1\r\n", b"Host: localhost\r\n"

PLAIN = {
    "curl": b"GET /health HTTP/1.1\r\nHost: localhost:8000\r\nUser-Agent: curl/8.0\r\nAccept: */*\r\n\r\n",
    "httpx": LINE
    + HOST
    + b"Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nX-Stainless-Async: false\r\n"
    + b"Authorization: Bearer key\r\nContent-Length: 2\r\n\r\n",
    "odd but allowed": b"GET /%ff?a=b#c HTTP/1.1\r\nhOST:localhost\t\r\nx: \t\r\nX:\xe9  \x01 y\r\n\r\n",
}
ODD = {
    "no end": LINE + HOST,
    "bare line feeds": b"GET / HTTP/1.1\nHost: localhost\n\n",
    "a bare line feed amid": b"GET / HTTP/1.1\r\nA: b\nHost: localhost\r\n\r\n",
    "a bare carriage return": LINE + HOST + b"A: b\rC: d\r\n\r\n",
    "a folded line": LINE + HOST + b"A: b\r\n c\r\n\r\n",
    "a space before the colon": LINE + HOST + b"Content-Length : 2\r\n\r\n",
    "no name": LINE + HOST + b": b\r\n\r\n",
    "a zero byte": LINE + HOST + b"A: b\x00\r\n\r\n",
    "no host": LINE + b"\r\n",
    "two hosts": LINE + HOST + HOST + b"\r\n",
    "two lengths": LINE + HOST + b"Content-Length: 2\r\ncontent-length: 2\r\n\r\n",
    "a list of lengths": LINE + HOST + b"Content-Length: 2, 2\r\n\r\n",
    "a signed length": LINE + HOST + b"Content-Length: +2\r\n\r\n",
    "a length in other digits": LINE + HOST + b"Content-Length: \xb2\r\n\r\n",
    "an empty length": LINE + HOST + b"Content-Length:\r\n\r\n",
    "a length of 21 digits": LINE + HOST + b"Content-Length: " + b"0" * 21 + b"\r\n\r\n",
    "chunks": LINE + HOST + b"Transfer-Encoding: chunked\r\n\r\n",
    "a length and chunks": LINE + HOST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
    "the last request": LINE + HOST + b"Connection: close\r\n\r\n",
    "an upgrade": LINE + HOST + b"Connection: keep-alive\r\nUpgrade: websocket\r\n\r\n",
    "an expectation": LINE + HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    "HTTP/1.0": b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "another version": b"GET / HTTP/1.2\r\nHost: localhost\r\n\r\n",
    "a URL": b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a proxy's method": b"CONNECT /x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a method in lower case": b"get / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an empty line first": b"\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


def as_h11_reads(raw: bytes) -> tuple[Any, ...]:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    length: Any = connection._reader
    state = connection._cstate
    assert state.keep_alive
    assert not state.pending_switch_proposals
    assert not connection.client_is_waiting_for_100_continue
    return request.method.decode(), request.target, list(request.headers), length._length, connection.trailing_data[0]


@pytest.mark.parametrize("raw", PLAIN.values(), ids=PLAIN)
def test_a_plain_head_is_read_as_h11_reads_it(raw: bytes) -> None:
    found = plain_head(raw + b"{}")
    assert found is not None
    assert (*found[:4], b"{}") == as_h11_reads(raw + b"{}")
    assert found.end == len(raw)


@pytest.mark.parametrize("raw", ODD.values(), ids=ODD)
def test_what_is_not_plain_is_left_to_h11(raw: bytes) -> None:
    assert plain_head(raw) is None


def test_hostile_heads_that_pass_as_plain_are_what_h11_reads() -> None:
    plain = 0
    for seed in range(800):
        raw = b"".join(sequences(random.Random(seed)))
        if (found := plain_head(raw)) is not None:
            plain += 1
            assert (*found[:4], raw[found.end :]) == as_h11_reads(raw), seed
    assert plain > 80


async def test_hostile_connections_come_to_the_same_with_and_without() -> None:
    asked = 0
    for seed in range(CONNECTIONS):
        pieces = list(sequences(random.Random(seed)))
        short, long = await seen(pieces), await seen(pieces, without=SHORTCUTS)
        assert short == long, seed
        asked += len(short.asked)
    assert asked > CONNECTIONS / 2


@pytest.mark.parametrize("body", [b"", b"{}", b"x" * 3000])
async def test_a_request_may_be_cut_anywhere_and_more_may_follow(body: bytes) -> None:
    raw = request_bytes("/plain", body) + request_bytes("/plain/next", {"a": 1})
    cuts = range(1, len(raw), 1 if len(raw) < 500 else 97)
    whole = await seen([raw], without=SHORTCUTS)
    assert [(request["path"], sent) for request, sent in whole.asked] == [
        ("/plain", body),
        ("/plain/next", b'{"a":1}'),
    ]
    for cut in cuts:
        pieces = [raw[:cut], raw[cut:]]
        short = await seen(pieces)
        assert short == await seen(pieces, without=SHORTCUTS)
        assert short.asked == whole.asked


async def test_h11_does_not_read_a_plain_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(connection: Any) -> Any:
        raise AssertionError("h11 was asked")

    monkeypatch.setattr(h11.Connection, "next_event", read)
    short = await seen([request_bytes("/plain", {"a": 1})] * 2)
    assert len(short.asked) == 2
    with pytest.raises(BaseExceptionGroup):
        await seen([request_bytes("/plain", {"a": 1})], without=[ShortenRequests])
