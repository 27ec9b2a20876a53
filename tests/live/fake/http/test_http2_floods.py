"""HTTP/2 connections that ask for nothing, and for far too much of it: each is ended with GOAWAY, and nobody else is.

Where no library would let a client do so, the frames are written by hand: `tests/fuzz/http2_frames.py`.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import hpack
import pytest

from tests.certificates import make_certificate
from tests.fuzz.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    sequences,
)
from tests.live.clients.raw import RawClient
from tests.live.clients.raw_http2 import Http2Client
from tests.live.servers.server import MODEL, Server, fake_server, left_unharmed

CHAT = "/v1/chat/completions"
ASKED = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": True}
HELLO = PREFACE + frame(SETTINGS, 0, 0)
NO_ERROR, PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 0, 1, 3, 5, 6
ENHANCE_YOUR_CALM = 11
WIDEST = b"\x7f\xff\xff\xff"
MANY = 5000
IDLE_S, HEADER_S = 1.5, 0.5
LIMIT_S = 10


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def flags() -> tuple[str, ...]:
    timeouts = ("--idle-timeout-s", IDLE_S, "--header-timeout-s", HEADER_S, "--body-timeout-s", 3)
    return (*map(str, timeouts), "--public-metrics")


class Blocks:
    """The compressed headers of requests that follow each other on one connection."""

    def __init__(self) -> None:
        self._encoder = hpack.Encoder()
        self._stream = -1

    def request(self, path: str = "/livez", flags: int = END_HEADERS | END_STREAM, method: str = "GET") -> bytes:
        self._stream += 2
        fields = [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path)]
        return frame(HEADERS, flags, self._stream, self._encoder.encode(fields))

    def on_it(self, kind: int, payload: bytes = b"", flags: int = 0) -> bytes:
        """A frame for the last request's stream."""
        return frame(kind, flags, self._stream, payload)


def farewell(received: bytes) -> tuple[int, str]:
    """The code of the GOAWAY in what the server sent, and the reason that it gives; it must be the last frame."""
    at, last = 0, b""
    while at < len(received):
        last = received[at : at + 9 + int.from_bytes(received[at : at + 3], "big")]
        at += len(last)
    assert last[3:4] == bytes([GOAWAY]), f"no GOAWAY: {received[-100:]!r}"
    return int.from_bytes(last[13:17], "big"), last[17:].decode()


def answered(server: Server, sent: bytes) -> tuple[int, str]:
    """How a connection ends that sends so much."""
    with RawClient(server.port) as client:
        with suppress(ConnectionError):  # The server has had enough before the end of it.
            client.send(sent)
        return farewell(client.read_to_end(LIMIT_S))


# -- floods ----------------------------------------------------------------------------------------------------------


def open_chat(method: str = "POST") -> tuple[Blocks, bytes]:
    """A request whose body is to come."""
    blocks = Blocks()
    return blocks, HELLO + blocks.request(CHAT, END_HEADERS, method)


def control_floods() -> dict[str, bytes]:
    """Frames that ask for nothing."""
    floods = {
        "settings": frame(SETTINGS, 0, 0),
        "acknowledged settings": frame(SETTINGS, ACK, 0),
        "ping": frame(PING, 0, 0, b"12345678"),
        "priority": frame(PRIORITY, 0, 99, b"\0\0\0\0\1"),
        "window of the connection": frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1"),
        "unknown": frame(0x2A, 0, 0),
        "resets of nothing": frame(RST_STREAM, 0, 1, bytes(4)),
    }
    blocks, begun = open_chat()
    on_a_stream = {
        "window of a stream": blocks.on_it(WINDOW_UPDATE, b"\0\0\0\1"),
        "empty data": blocks.on_it(DATA),
        "padding": blocks.on_it(DATA, b"\xff" + bytes(255), PADDED),
    }
    return {name: HELLO + Blocks().request() + one * MANY for name, one in floods.items()} | {
        name: begun + one * MANY for name, one in on_a_stream.items()
    }


def reset_floods() -> dict[str, bytes]:
    """Requests that are taken back at once, or that the server has to take back."""
    floods = {}
    for name, kind, payload, flags in [
        ("rapid reset", RST_STREAM, b"\0\0\0\x08", END_HEADERS | END_STREAM),
        ("a window too wide", WINDOW_UPDATE, WIDEST, END_HEADERS | END_STREAM),
        ("data after the end", DATA, b"x", END_HEADERS | END_STREAM),
    ]:
        blocks = Blocks()
        floods[name] = HELLO + b"".join(blocks.request(flags=flags) + blocks.on_it(kind, payload) for _ in range(1500))
    return floods


def header_floods() -> dict[str, bytes]:
    """Headers in very many frames, or without an end."""
    blocks, made = Blocks(), HELLO
    for _ in range(20):
        made += blocks.request(flags=END_STREAM) + blocks.on_it(CONTINUATION) * 40
        made += blocks.on_it(CONTINUATION, flags=END_HEADERS)
    endless = frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1, bytes(16000)) * 5
    return {"empty continuation": made, "endless headers": HELLO + endless}


FLOODS = control_floods() | reset_floods() | header_floods()


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_its_connection_and_a_neighbour_goes_on(server: Server, name: str) -> None:
    with Http2Client(server.port) as neighbour:
        stream = neighbour.open(CHAT, ASKED)
        code, reason = answered(server, FLOODS[name])
        assert code == ENHANCE_YOUR_CALM, reason
        assert reason
        seen = len(neighbour.streams[stream].body)
        neighbour.read_until(lambda: len(neighbour.streams[stream].body) > seen, "more of the neighbour's answer")


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", PROTOCOL_ERROR),
        (PREFACE + frame(PING, 0, 0, bytes(8)), PROTOCOL_ERROR),
        (HELLO + frame(DATA, 0, 1, length=16385), FRAME_SIZE_ERROR),
        (HELLO + frame(0x2A, 0, 0, length=2**24 - 1), FRAME_SIZE_ERROR),
        (HELLO + frame(PING, 0, 0, bytes(7)), FRAME_SIZE_ERROR),
        (HELLO + frame(WINDOW_UPDATE, 0, 0, WIDEST), FLOW_CONTROL_ERROR),
        (HELLO + frame(SETTINGS, 0, 0, b"\0\4" + b"\xff" * 4), FLOW_CONTROL_ERROR),
        (HELLO + frame(SETTINGS, 0, 0, bytes(6) * 33), ENHANCE_YOUR_CALM),
        (HELLO + frame(CONTINUATION, END_HEADERS, 1, b"\x82"), PROTOCOL_ERROR),
        (HELLO + frame(HEADERS, END_HEADERS, 2, b"\x82"), PROTOCOL_ERROR),
        (HELLO + frame(HEADERS, END_HEADERS, 1, b"\xff" * 9), PROTOCOL_ERROR),
    ],
)
def test_who_breaks_the_protocol_is_told_so(server: Server, sent: bytes, code: int) -> None:
    assert answered(server, sent)[0] == code


def test_random_frames_do_no_harm(server: Server) -> None:
    for seed in range(30):
        with RawClient(server.port) as client, suppress(ConnectionError):
            for chunk in sequences(random.Random(seed)):
                client.send(chunk)
    assert server.is_ready()


# -- time ------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["cleartext", "tls"], scope="module")
def timed(
    request: pytest.FixtureRequest,
    fake: Server,
    flags: tuple[str, ...],
    env: dict[str, str],
    certificate: tuple[Path, Path],
) -> Iterator[Server]:
    if request.param == "cleartext":
        yield fake
        return
    certfile, keyfile = map(str, certificate)
    with fake_server(*flags, "--certfile", certfile, "--keyfile", keyfile, env=env) as server:
        server.verify = trust = ssl.create_default_context(cafile=certfile)
        trust.set_alpn_protocols(["h2"])
        yield server


STANDING_STILL = {
    "silent": (HELLO, NO_ERROR),
    "after a request": (HELLO + Blocks().request(), NO_ERROR),
    "after pings": (HELLO + frame(PING, 0, 0, bytes(8)) * 3, NO_ERROR),
    "amid the preface": (PREFACE[:20], ENHANCE_YOUR_CALM),
    "before its settings": (PREFACE, ENHANCE_YOUR_CALM),
    "amid a frame of headers": (HELLO + frame(HEADERS, 0, 1, length=100), ENHANCE_YOUR_CALM),
    "amid headers": (HELLO + frame(HEADERS, 0, 1, b"\x82") + frame(CONTINUATION, 0, 1, b"\x84"), ENHANCE_YOUR_CALM),
    "amid later headers": (HELLO + Blocks().request() + frame(HEADERS, 0, 3, b"\x82"), ENHANCE_YOUR_CALM),
}


def test_a_connection_that_stands_still_is_ended_in_time(timed: Server) -> None:
    with left_unharmed(timed), ExitStack() as stack:
        clients = {name: stack.enter_context(Connection(timed)) for name in STANDING_STILL}
        for name, (sent, _) in STANDING_STILL.items():
            clients[name].send(sent)
        for name, (_, code) in STANDING_STILL.items():
            assert (name, farewell(clients[name].read_to_end(LIMIT_S))[0]) == (name, code)


class Connection(RawClient):
    """Over TLS where the server speaks it."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.port)
        if isinstance(server.verify, ssl.SSLContext):
            self._socket = server.verify.wrap_socket(self._socket, server_hostname="localhost")


def test_a_request_that_runs_is_longer_than_its_connection_may_be_idle(server: Server) -> None:
    with Http2Client(server.port) as client:
        tokens = int(3 * IDLE_S / 0.001)
        assert client.finish(client.open(CHAT, ASKED | {"max_tokens": tokens})).body.endswith(b"[DONE]\n\n")


def test_half_requests_on_all_streams_end_in_their_time(server: Server) -> None:
    with Http2Client(server.port) as client:
        opened = [client.open(CHAT, b"{", ends=False) for _ in range(100)]
        assert {client.finish(stream).status for stream in opened} == {408}
        client.read_to_end(LIMIT_S)
        assert client.went_away
