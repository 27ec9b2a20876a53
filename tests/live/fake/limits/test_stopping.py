"""How the server stops, on the counting engine: what is refused meanwhile, what may finish, and that it ends.

With the real engine and its processes: `tests/live/real/processes`.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.live.clients.raw import RawClient, answer_of, request_bytes
from tests.live.clients.raw_http2 import Http2Client
from tests.live.servers.server import MODEL, Server, start_fake_server, stop_server

CHAT = "/v1/chat/completions"
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": True}
ENDLESS = BODY | {"max_tokens": 10**6}
DRAIN_S = 1


@pytest.fixture
def server() -> Iterator[Server]:
    server = start_fake_server("--drain-timeout-s", "60")
    yield server
    assert stop_server(server) == 0
    assert not any("Traceback" in line for line in server.log), "".join(server.log)


def drain(server: Server) -> httpx.Response:
    """Ask it to stop; what `/health` answers as soon as it does not say that all is well."""
    server.process.send_signal(signal.SIGTERM)
    server.wait_until(lambda: not server.is_ready(), 5, "it does not drain")
    return httpx.get(f"{server.url}/health")


def test_a_server_that_drains_finishes_what_runs_and_sends_new_work_away(server: Server) -> None:
    with RawClient(server.port) as running, RawClient(server.port) as kept, Http2Client(server.port) as http2:
        running.send(request_bytes(CHAT, BODY | {"max_tokens": 1000}))
        running.read_until(b"data: ")
        streaming = http2.open(CHAT, BODY | {"max_tokens": 1000})
        http2.read_until(lambda: http2.streams[streaming].body, "the first chunk")
        kept.send(request_bytes("/livez", method="GET"))
        kept.read_until(b'{"status":"ok"}')
        kept.received.clear()
        health = drain(server)
        assert (health.json()["state"], health.headers["connection"]) == ("draining", "close")
        # On a connection that was there before, and that ends with the answer.
        kept.send(request_bytes(CHAT, BODY))
        status, headers, body = answer_of(kept.read_to_end())
        assert (status, headers["connection"]) == (503, "close")
        assert b"server_draining" in body
        assert int(headers["retry-after"]) > 0
        refused = http2.ask(CHAT, BODY, method="POST")
        assert (refused.status, refused.reset) == (503, None)
        assert http2.finish(streaming).body.endswith(b"data: [DONE]\n\n")
        assert b"data: [DONE]" in running.read_to_end()
        assert server.process.wait(30) == 0


def test_what_does_not_finish_in_time_is_told_why() -> None:
    server = start_fake_server("--drain-timeout-s", str(DRAIN_S))
    with RawClient(server.port) as one, Http2Client(server.port) as other:
        one.send(request_bytes(CHAT, ENDLESS))
        one.read_until(b"data: ")
        stream_id = other.open(CHAT, ENDLESS)
        other.read_until(lambda: other.streams[stream_id].body, "the first chunk")
        server.process.send_signal(signal.SIGTERM)
        for text in (one.read_to_end(), bytes(other.finish(stream_id).body)):
            assert b'"code":"server_draining"' in text
            assert b"data: [DONE]\n\n" in text
        assert server.process.wait(20) == 0
    stop_server(server)


def test_a_second_signal_ends_what_runs_at_once(server: Server) -> None:
    with RawClient(server.port) as client:
        client.send(request_bytes(CHAT, ENDLESS))
        client.read_until(b"data: ")
        drain(server)
        server.process.send_signal(signal.SIGTERM)
        assert b'"code":"server_draining"' in client.read_to_end()
        assert server.process.wait(20) == 0


def test_an_open_connection_does_not_keep_it_from_ending() -> None:
    server = start_fake_server("--send-timeout-s", "300", env={"FAKE_PACE_S": "0.00002"})
    with ExitStack() as stack:
        idle = [stack.enter_context(RawClient(server.port)) for _ in range(3)]
        idle[0].send(request_bytes("/livez", method="GET"))
        idle[0].read_until(b'{"status":"ok"}')
        idle[1].send(b"GET /livez HTTP/1.1\r\nHost: loc")
        stack.enter_context(Http2Client(server.port)).ask("/livez")
        stuck = stack.enter_context(RawClient(server.port, receive_buffer=4096))
        stuck.send(request_bytes(CHAT, ENDLESS | {"max_tokens": 10**9}))
        stuck.read_until(b"data: ")
        made = [-1.0, 0.0]

        def stands_still() -> bool:
            made.append(server.metric("twowire_inter_token_seconds_count", wire="sse"))
            return made[-1] == made[-2]

        server.wait_until(stands_still, 30, "the socket is full")
        drain(server)
        server.process.send_signal(signal.SIGTERM)
        asked_at = time.monotonic()
        assert server.process.wait(40) == 0
        print(f"ended {time.monotonic() - asked_at:.1f} s after it was told to, with 5 connections open")
    stop_server(server)
