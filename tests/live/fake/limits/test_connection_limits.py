"""What a connection may do before anybody knows what it wants: each limit set low, and gone beyond."""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest

from tests.live.clients.bursts import AT_ONCE_S, waits_of_a_burst
from tests.live.clients.raw import RawClient, answer_of, request_bytes
from tests.live.clients.raw_http2 import Http2Client
from tests.live.servers.server import MODEL, Server, start_fake_server, stop_server

CHAT = "/v1/chat/completions"
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": True}
GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
ROOM = 6
FLAGS = {
    "--max-header-bytes": 2048,
    "--max-headers": 20,
    "--header-timeout-s": 0.5,
    "--body-timeout-s": 0.5,
    "--max-streams-per-connection": 3,
}


@pytest.fixture(scope="module")
def flags() -> tuple[str, ...]:
    return tuple(str(word) for pair in FLAGS.items() for word in pair)


@pytest.fixture(scope="module")
def env() -> dict[str, str]:
    return {}


def error_code(body: bytes | bytearray) -> str:
    return str(json.loads(bytes(body))["error"]["code"])


# -- headers and bodies ----------------------------------------------------------------------------------------------


def test_too_many_headers_are_refused_on_either_protocol(server: Server) -> None:
    with RawClient(server.port) as client:
        client.send(request_bytes("/livez", method="GET", headers="".join(f"X-{n}: 1\r\n" for n in range(20))))
        client.send(GET)
        status, _, body = answer_of(client.read_to_end())
        assert (status, error_code(body)) == (431, "headers_too_large")
    with Http2Client(server.port) as client2:
        neighbour = client2.open(CHAT, BODY)
        many = client2.finish(client2.open("/livez", method="GET", headers=[(f"x-{n}", "1") for n in range(20)]))
        assert (many.status, error_code(many.body)) == (431, "headers_too_large")
        client2.read_until(lambda: client2.streams[neighbour].body, "the neighbour's answer")


@pytest.mark.parametrize("ending", [b"\r\n\r\n", b""], ids=["whole", "endless"])
def test_large_headers_are_refused_on_either_protocol(server: Server, ending: bytes) -> None:
    with RawClient(server.port) as client:
        client.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n")
        client.send(b"Connection: close\r\nX-Large: " + b"x" * 4096 + ending)
        assert answer_of(client.read_to_end())[0] == 431
    with Http2Client(server.port) as client2:
        neighbour = client2.open(CHAT, BODY)
        large = client2.finish(client2.open("/livez", method="GET", headers=[("x-large", "x" * 4096)]))
        assert (large.status, error_code(large.body)) == (431, "headers_too_large")
        client2.read_until(lambda: client2.streams[neighbour].body, "the neighbour's answer")


@pytest.mark.parametrize("before", [b"", request_bytes("/livez", method="GET")], ids=["first", "second"])
def test_headers_that_do_not_end_in_time_are_refused(server: Server, before: bytes) -> None:
    with RawClient(server.port) as client:
        if before:
            client.send(before)
            client.read_until(b'{"status":"ok"}')
            client.received.clear()
        client.send(b"GET /livez HTTP/1.1\r\nHost: loc")
        status, _, body = answer_of(client.read_to_end(limit_s=10))
        assert (status, error_code(body)) == (408, "request_timeout")


def test_headers_in_pieces_are_taken(server: Server) -> None:
    with RawClient(server.port) as client:
        for start in range(0, len(GET), 8):
            client.send(GET[start : start + 8])
        assert answer_of(client.read_to_end())[0] == 200


def test_a_body_that_does_not_end_in_time_is_refused_and_its_neighbour_goes_on(server: Server) -> None:
    with Http2Client(server.port) as client:
        neighbour = client.open(CHAT, BODY)
        slow = client.open(CHAT, b"{", ends=False)
        client.read_until(lambda: client.streams[slow].has_ended, "the answer", 10)
        assert (client.streams[slow].status, error_code(client.streams[slow].body)) == (408, "request_timeout")
        seen = len(client.streams[neighbour].body)
        client.read_until(lambda: len(client.streams[neighbour].body) > seen, "the neighbour's answer")


def test_the_streams_of_a_connection_are_announced(server: Server) -> None:
    with Http2Client(server.port) as client:
        assert client.h2.remote_settings.max_concurrent_streams == 3


# -- connections -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_address"])
def test_a_connection_too_many_is_refused_and_there_is_room_again_later(flags: tuple[str, ...], limit: str) -> None:
    server = start_fake_server(*flags, "--" + limit.replace("_", "-"), str(ROOM))
    try:
        with ExitStack() as stack:
            held = [stack.enter_context(RawClient(server.port)) for _ in range(ROOM)]
            for client in held:
                client.send(request_bytes("/livez", method="GET"))
                client.read_until(b'{"status":"ok"}')
            with RawClient(server.port) as refused:
                refused.send(GET)
                status, headers, body = answer_of(refused.read_to_end())
                assert (status, error_code(body)) == (503, "too_many_connections")
                assert headers["retry-after"] == "5"
            held[0].send(request_bytes("/livez", method="GET"))
            held[0].read_until(b'{"status":"ok"}', count=2)
        server.wait_until(server.is_ready, 10, "there is room again")
    finally:
        assert stop_server(server) == 0


def test_of_many_clients_that_connect_at_once_nobody_waits(server: Server) -> None:
    # A machine that stands still for a moment does so once.
    assert min(max(waits_of_a_burst(server.port)) for _ in range(3)) < AT_ONCE_S
