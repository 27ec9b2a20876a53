"""Readers that do not read, and very many sockets, on the counting engine."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
import pytest

from tests.live.clients.raw_websocket import RawWebSocket
from tests.live.servers.server import MODEL, Server, fake_server, left_as_found, start_fake_server, stop_server

MIB = 2**20
CREATE = "chat.completion.create"
SOCKETS = 2000
KIB_PER_SOCKET = 100
"""What one may take; about half of that is hypercorn's and the event loop's."""
CHAT = {"messages": [{"role": "user", "content": "Tell me a long story."}], "ignore_eos": True, "temperature": 0}


# -- readers that stop -----------------------------------------------------------------------------------------------


@pytest.fixture
def hasty() -> Iterator[Server]:
    with fake_server("--ws-send-timeout-s", "1", env={"FAKE_PACE_S": "0.00002"}) as server:
        yield server


def stuck_socket(server: Server) -> RawWebSocket:
    ws = RawWebSocket(server.port, receive_buffer=4096)
    for number in range(16):
        ws.say({"type": CREATE, "stream_id": f"s{number}", "body": {"model": MODEL} | CHAT})
    ws.wait_for("chat.completion.chunk")
    return ws


def has_connection(server: Server, ws: RawWebSocket) -> bool:
    """The server has its end of it still."""
    connections = psutil.Process(server.process.pid).net_connections("tcp")
    return any(one.raddr[1:] == (ws._socket.getsockname()[1],) for one in connections)


def test_the_deadline_frees_the_places_of_many_that_do_not_read(hasty: Server) -> None:
    with left_as_found(hasty):
        before = psutil.Process(hasty.process.pid).memory_info().rss
        sockets = [stuck_socket(hasty) for _ in range(8)]
        took = hasty.wait_until(lambda: not hasty.metric("twowire_websockets"), 30, "they are still there")
        hasty.wait_until(lambda: not hasty.metric("twowire_sequences_in_engine"), 5, "their generations still run")
        grown = (psutil.Process(hasty.process.pid).memory_info().rss - before) / MIB
        # The counting engine is the one that grows here: it makes more than any model could. With vLLM memory is flat,
        # which `tests/live/real/channel/test_channel_pressure.py` asserts.
        print(f"8 stuck readers: cut after {took:.1f} s, memory {grown:+.1f} MiB")
        # What the system has still to deliver to them may take it long.
        assert not any(has_connection(hasty, ws) for ws in sockets)
        for ws in sockets:
            ws.leave("close")


def test_without_the_fix_hypercorn_would_keep_a_stuck_socket() -> None:
    env = {"FAKE_PACE_S": "0.00002", "FAKE_WITHOUT": "NameStream"}
    server = start_fake_server("--ws-send-timeout-s", "0.5", env=env)
    try:
        tasks = server.metric("twowire_asyncio_tasks")
        stuck = stuck_socket(server)
        server.wait_until(lambda: not server.metric("twowire_websockets"), 30, "the channel has ended")
        server.wait_until(lambda: not server.metric("twowire_sequences_in_engine"), 5, "so have its streams")
        # The connection has not: it waits to send what is in its buffers, and would for ever.
        assert has_connection(server, stuck)
        assert server.metric("twowire_asyncio_tasks") > tasks
        stuck.leave("reset")
    finally:
        stop_server(server)


def test_a_resumable_stream_survives_the_deadline_of_its_reader(hasty: Server) -> None:
    with left_as_found(hasty), RawWebSocket(hasty.port, receive_buffer=4096) as ws:
        for number in range(8):
            resume = {"resume": {"grace_s": 60}} if number == 0 else {}
            ws.say({"type": CREATE, "stream_id": f"s{number}", "body": {"model": MODEL} | CHAT} | resume)
        created = ws.wait_for("chat.completion.created", stream_id="s0")
        hasty.wait_until(lambda: not hasty.metric("twowire_websockets"), 30, "it is still there")
        hasty.wait_until(lambda: hasty.metric("twowire_sequences_in_engine") == 1, 5, "not one, but the others, ended")
        url = f"{hasty.url}/v1/chat/completions/{created['id']}"
        assert httpx.delete(url).status_code == 200, "it runs, and can be cancelled"
        hasty.wait_until(lambda: not hasty.metric("twowire_sequences_in_engine"), 5, "it still runs")
        assert httpx.delete(url).status_code == 200, "its log is there, and can be forgotten"


# -- very many -------------------------------------------------------------------------------------------------------


@pytest.fixture
def room() -> Iterator[Server]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = SOCKETS + 500
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"a process may open {hard} files here; this needs {needed}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    # The server inherits the limit.
    with fake_server() as server:
        yield server
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_2000_idle_sockets_at_once(room: Server) -> None:
    def connect(_: int) -> RawWebSocket:
        ws = RawWebSocket(room.port)
        ws.wait_for("connection.ready")
        return ws

    with left_as_found(room):
        with connect(0) as first:  # What is imported and made once is there from now on.
            first.leave("close")
        process = psutil.Process(room.process.pid)
        before = process.memory_info().rss
        with ThreadPoolExecutor(8) as pool:
            sockets = list(pool.map(connect, range(SOCKETS)))
        assert room.metric("twowire_websockets") == SOCKETS
        each_kib = (process.memory_info().rss - before) / SOCKETS / 1024
        print(f"{SOCKETS} idle sockets: {each_kib:.1f} KiB each")
        assert each_kib < KIB_PER_SOCKET
        for ws in sockets[:: SOCKETS // 20]:
            ws.say({"type": "ping", "t": "here"})
            ws.wait_for("pong", t="here")
        for ws in sockets:
            ws.leave("close")
        room.wait_until(lambda: not room.metric("twowire_websockets"), 20, "they are gone")
