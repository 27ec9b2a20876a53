"""How the server ends a channel: deadlines, a drain, and the fixes of hypercorn that this needs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.live.clients.abuse import (
    BODY,
    CREATE,
    ENDLESS,
    FLOOD,
    MESSAGE_BYTES,
    send_until_closed,
)
from tests.live.clients.raw_websocket import CLOSE, TEXT, RawWebSocket
from tests.live.servers.server import Server, fake_server, left_as_found, start_fake_server, stop_server


@pytest.fixture(scope="module")
def hasty() -> Iterator[Server]:
    flags = ("--ws-ping-interval-s", "0.3", "--ws-idle-timeout-s", "1", "--ws-max-age-s", "2.5")
    with fake_server(*flags, "--drain-timeout-s", "2") as server:
        yield server


def test_a_client_that_answers_no_ping_is_missed(hasty: Server) -> None:
    # Before the connection: the server's clock starts while the client is still being told that it is in.
    started = time.monotonic()
    with left_as_found(hasty), RawWebSocket(hasty.port) as ws:
        ws.wait_for("ping")
        assert ws.close_code() == 4408
        assert 0.9 < time.monotonic() - started < 2.4


def test_an_old_connection_is_told_so_and_closed(hasty: Server) -> None:
    with left_as_found(hasty), RawWebSocket(hasty.port) as ws:
        while (got := ws.next()) is not None and got.opcode == TEXT and got.json["type"] != "error":
            ws.say({"type": "pong"})
        assert got is not None
        assert got.json["error"]["code"] == "connection_too_old"
        assert ws.close_code() == 1001


def test_a_close_that_is_not_answered_is_not_waited_for_long(hasty: Server) -> None:
    with left_as_found(hasty), RawWebSocket(hasty.port) as ws:
        assert ws.close_code() == 4408
        started = time.monotonic()
        assert ws.is_cut(5)
        assert time.monotonic() - started < 4


@contextmanager
def started_with(*flags: str) -> Iterator[Server]:
    server = start_fake_server(*flags)
    try:
        yield server
        assert server.process.wait(10) == 0
    finally:
        stop_server(server)


def test_a_server_that_stops_lets_streams_end_refuses_new_ones_and_says_1012() -> None:
    with (
        started_with("--drain-timeout-s", "20") as server,
        RawWebSocket(server.port) as idle,
        RawWebSocket(server.port) as busy,
    ):
        busy.say({"type": CREATE, "stream_id": "a", "body": BODY | {"max_tokens": 150}})
        busy.wait_for("chat.completion.chunk")
        server.process.terminate()
        assert idle.close_code() == 1012
        idle.say((1012).to_bytes(2, "big"), CLOSE)
        busy.say({"type": CREATE, "stream_id": "b", "body": BODY})
        assert busy.wait_for("error", stream_id="b")["error"]["code"] == "server_draining"
        done = busy.wait_for("chat.completion.done", stream_id="a")
        assert (done["status"], done["usage"]["completion_tokens"]) == ("completed", 150)
        assert busy.close_code() == 1012
        busy.say((1012).to_bytes(2, "big"), CLOSE)


def test_a_server_that_may_not_wait_ends_streams_with_an_error_and_done() -> None:
    with started_with("--drain-timeout-s", "0.2") as server, RawWebSocket(server.port) as ws:
        ws.say({"type": CREATE, "stream_id": "a", "body": BODY})
        ws.wait_for("chat.completion.chunk")
        server.process.terminate()
        assert ws.wait_for("error", stream_id="a")["error"]["code"] == "server_draining"
        assert ws.wait_for("chat.completion.done")["status"] == "failed"
        assert ws.close_code() == 1012


# -- what the fixes of hypercorn are for ------------------------------------------------------------------------------


def started_without(name: str, *flags: str) -> Server:
    return start_fake_server(*flags, env={"FAKE_WITHOUT": name})


def test_without_the_fix_hypercorn_would_compress() -> None:
    server = started_without("RefuseExtensions")
    try:
        with RawWebSocket(server.port, "Sec-WebSocket-Extensions: permessage-deflate") as ws:
            assert "permessage-deflate" in ws.head
    finally:
        stop_server(server)


def test_without_the_fix_hypercorn_would_go_on_collecting_a_message_over_the_limit() -> None:
    server = started_without("CloseWithCode", "--ws-max-message-bytes", str(MESSAGE_BYTES))
    try:
        with RawWebSocket(server.port) as ws:
            ws.wait_for("connection.ready")
            head = b"\x81\xff" + (24 * MESSAGE_BYTES).to_bytes(8, "big") + bytes(4)
            assert send_until_closed(ws, head, b"x" * 65536, 20 * MESSAGE_BYTES) == 20 * MESSAGE_BYTES
    finally:
        stop_server(server)


def test_without_the_fix_hypercorn_would_keep_the_connection_of_a_flood() -> None:
    server = started_without("DropUnreadMessages")
    try:
        tasks = server.metric("twowire_asyncio_tasks")
        with RawWebSocket(server.port) as ws:
            send_until_closed(ws, b"", FLOOD, ENDLESS)
        server.wait_until(lambda: server.metric("twowire_websockets") == 0, 5, "the channel has ended")
        with pytest.raises(pytest.fail.Exception, match="tasks"):
            server.wait_until(lambda: server.metric("twowire_asyncio_tasks") <= tasks, 1, "the connection's tasks")
    finally:
        stop_server(server)
