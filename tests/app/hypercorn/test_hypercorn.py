"""The listening sockets."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from email.utils import formatdate

import pytest
from hypercorn.config import Config

from app import hypercorn as hypercorn_fixes
from app.hypercorn.config import ServerConfig
from app.hypercorn.connection import KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_PROBES, UNACKNOWLEDGED_S


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    config = Config()
    config.bind = ["127.0.0.1:0"]
    (sock,) = hypercorn_fixes.create_sockets(config).insecure_sockets
    yield sock
    sock.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems name these options otherwise, or lack them")
def test_a_connection_notices_a_peer_that_vanished_without_a_packet(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            options = {
                socket.TCP_KEEPIDLE: KEEPALIVE_IDLE_S,
                socket.TCP_KEEPINTVL: KEEPALIVE_INTERVAL_S,
                socket.TCP_KEEPCNT: KEEPALIVE_PROBES,
                socket.TCP_USER_TIMEOUT: UNACKNOWLEDGED_S * 1000,
            }
            assert {name: accepted.getsockopt(socket.IPPROTO_TCP, name) for name in options} == options


def test_who_comes_before_the_server_serves_waits_and_is_not_refused(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname(), timeout=5) as early:
        assert early.getpeername() == listener.getsockname()


def test_the_date_of_responses_is_formatted_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    config, now = ServerConfig(), 1_000_000_000.0
    formatted: list[float] = []

    def format_date_time(timestamp: float) -> str:
        formatted.append(timestamp)
        return formatdate(timestamp, usegmt=True)

    monkeypatch.setattr("app.hypercorn.config.time.time", lambda: now)
    monkeypatch.setattr("hypercorn.config.time", lambda: now)
    monkeypatch.setattr("hypercorn.config.format_date_time", format_date_time)
    assert [config.response_headers("h11")[0] for _ in range(2)] == [(b"date", b"Sun, 09 Sep 2001 01:46:40 GMT")] * 2
    assert config.response_headers("h2")[1] == (b"server", b"hypercorn-h2")
    now += 1
    assert config.response_headers("h2")[0] == (b"date", b"Sun, 09 Sep 2001 01:46:41 GMT")
    assert len(formatted) == 3
