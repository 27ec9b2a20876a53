"""A client that asks for a stream and does not read it is cut after a while; one that is only slow is not.

On every wire but the WebSocket, whose own deadline `tests/live/fake/channel/test_channel_pressure.py` tests.
"""

from __future__ import annotations

import ssl
import threading
from pathlib import Path

import pytest

from tests.certificates import make_certificate
from tests.live.clients.raw import RawClient, request_bytes
from tests.live.clients.raw_http2 import Http2Client
from tests.live.servers.server import MODEL, Server, start_fake_server, stop_server

CHAT = "/v1/chat/completions"
SEND_TIMEOUT_S = 1
BODY = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": True}
CANCEL = 8


@pytest.fixture(scope="module")
def flags() -> tuple[str, ...]:
    return ("--send-timeout-s", str(SEND_TIMEOUT_S))


@pytest.fixture(scope="module")
def env() -> dict[str, str]:
    # A token each time somebody asks for one, and in large chunks: sockets fill at once.
    return {"FAKE_PACE_S": "0.00002"}


def wait_cut(server: Server) -> None:
    logged = len(server.log)
    server.wait_until(lambda: any("connection_cut" in line for line in server.log[logged:]), 30, "it was not cut")
    server.wait_until(lambda: not server.metric("twowire_sequences_in_engine"), 5, "its generation still runs")


def test_a_stuck_reader_of_http1_is_cut(server: Server) -> None:
    with RawClient(server.port, receive_buffer=4096) as client:
        client.send(request_bytes(CHAT, BODY))
        client.read_until(b"data: ")
        wait_cut(server)
        assert b"[DONE]" not in client.read_to_end()


def test_a_stuck_reader_of_http2_is_cut(server: Server) -> None:
    with Http2Client(server.port, window=2**30, receive_buffer=4096) as client:
        client.h2.increment_flow_control_window(2**30)
        stream_id = client.open(CHAT, BODY)
        client.read_until(lambda: client.streams[stream_id].body, "the first chunk")
        wait_cut(server)
        client.read_to_end()
        assert not client.streams[stream_id].has_ended


def test_a_stream_whose_window_stays_closed_is_reset_and_its_neighbour_goes_on(server: Server) -> None:
    with Http2Client(server.port, takes=False) as client:
        client.h2.increment_flow_control_window(2**30)
        stuck = client.open(CHAT, BODY)
        neighbour = client.open(CHAT, BODY)
        client.h2.increment_flow_control_window(2**30, neighbour)
        client.flush()
        client.read_until(lambda: client.streams[stuck].reset is not None, "the reset")
        assert client.streams[stuck].reset == CANCEL
        assert len(client.streams[stuck].body) == 65535
        seen = len(client.streams[neighbour].body)
        client.read_until(lambda: len(client.streams[neighbour].body) > seen, "the neighbour goes on")
        assert not client.streams[neighbour].is_over


def test_a_slow_reader_is_not_cut(server: Server) -> None:
    with RawClient(server.port, receive_buffer=4096) as client:
        client.send(request_bytes(CHAT, BODY))
        client.read_until(b"data: ")
        done, pause = threading.Event(), threading.Event()

        def read_slowly() -> None:
            # In all four times as long as the limit, with never as long a pause.
            for _ in range(4 * 5 * SEND_TIMEOUT_S):
                pause.wait(0.2)
                client._socket.recv(4096)
            done.set()

        reading = threading.Thread(target=read_slowly)
        reading.start()
        reading.join(60)
        assert done.is_set(), "it was cut"
        assert server.metric("twowire_sequences_in_engine") == 1


def test_a_stuck_reader_behind_tls_is_cut(tmp_path: Path) -> None:
    certfile, keyfile = make_certificate(tmp_path)
    flags = ("--certfile", str(certfile), "--keyfile", str(keyfile), "--send-timeout-s", str(SEND_TIMEOUT_S))
    server = start_fake_server(*flags, env={"FAKE_PACE_S": "0.00002"})
    server.verify = ssl.create_default_context(cafile=certfile)
    try:
        trust = ssl.create_default_context(cafile=certfile)
        trust.set_alpn_protocols(["h2"])
        with Http2Client(server.port, window=2**30, receive_buffer=4096, tls=trust) as client:
            client.h2.increment_flow_control_window(2**30)
            stream_id = client.open(CHAT, BODY)
            client.read_until(lambda: client.streams[stream_id].body, "the first chunk")
            wait_cut(server)
    finally:
        assert stop_server(server) == 0
