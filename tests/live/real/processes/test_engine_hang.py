"""An engine that hangs, idle or busy, is ended and replaced; its clients learn of it as of a crash.

A stopped process (SIGSTOP) is one that hangs: it is there, its sockets are open, and nothing comes back.
"""

from __future__ import annotations

import signal

import httpx
import pytest

from tests.live.real.engine.test_engine_death import find_core, find_worker
from tests.live.servers.server import MODEL, START_TIMEOUT_S, Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * START_TIMEOUT_S)]

# Long, so that it still runs when its engine is stopped, however fast that is.
LONG = {"model": MODEL, "messages": [{"role": "user", "content": "Tell me."}], "stream": True, "n": 32}
LONG |= {"max_tokens": 1900, "ignore_eos": True}


@pytest.fixture
def watched(other_server: Server) -> Server:
    other_server.wait_until(other_server.is_ready, START_TIMEOUT_S, "it is not ready")
    return other_server


def wait_replaced(server: Server, restarts: float) -> None:
    server.wait_until(
        lambda: server.metric("twowire_engine_restarts") == restarts + 1 and server.is_ready(),
        START_TIMEOUT_S,
        "the engine was not replaced",
    )


@pytest.mark.parametrize("find_victim", [find_core, find_worker], ids=["engine core", "worker"])
def test_a_busy_engine_that_hangs_is_replaced_and_its_clients_are_told(watched: Server, find_victim: object) -> None:
    assert callable(find_victim)
    restarts, hangs = watched.metric("twowire_engine_restarts"), watched.metric("twowire_engine_hangs_total")
    old = [find_core(watched), find_worker(watched)]
    with httpx.stream("POST", f"{watched.url}/v1/chat/completions", json=LONG, timeout=START_TIMEOUT_S) as response:
        lines = response.iter_lines()
        assert any("content" in line for line in lines)
        find_victim(watched).send_signal(signal.SIGSTOP)
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert '"code":"engine_died"' in rest[-2]
    wait_replaced(watched, restarts)
    assert watched.metric("twowire_engine_hangs_total") == hangs + 1
    watched.wait_until(lambda: not any(process.is_running() for process in old), 20, f"left behind: {old}")
    assert any('"engine_hung"' in line for line in watched.log)
    short = LONG | {"stream": False, "n": 1, "max_tokens": 20}
    answer = httpx.post(f"{watched.url}/v1/chat/completions", json=short, timeout=120)
    assert answer.status_code == 200
    watched.wait_idle(10)


def test_an_idle_engine_that_hangs_is_replaced(watched: Server) -> None:
    restarts, beats = watched.metric("twowire_engine_restarts"), watched.metric("twowire_engine_heartbeats_total")
    watched.wait_until(
        lambda: watched.metric("twowire_engine_heartbeats_total") > beats,
        60,
        "an idle engine was not asked for a token",
    )
    assert watched.metric("twowire_generations_total") == watched.metric("twowire_generation_seconds_count")
    find_core(watched).send_signal(signal.SIGSTOP)
    wait_replaced(watched, restarts)
