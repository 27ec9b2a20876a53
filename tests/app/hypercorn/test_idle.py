"""Connections on which nothing happens: ended when their time is over, or the server's, and not before."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from typing import Any

from tests.app.served import served
from tests.live.clients.raw import RawClient

IDLE_S = 0.5
LIMIT_S = 10
ASKED = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def slow_answer(scope: Any, receive: Any, send: Any) -> None:
    """Takes longer than a connection may be idle."""
    await asyncio.sleep(2 * IDLE_S)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def test_a_connection_is_idle_before_its_first_request_and_after_each_but_not_amid_one() -> None:
    async def run() -> None:
        async with served(slow_answer, keep_alive_timeout=IDLE_S) as port:
            await asyncio.to_thread(never_asks, port)
            await asyncio.to_thread(asks_twice, port)

    def never_asks(port: int) -> None:
        began_at = time.monotonic()
        with RawClient(port) as client:
            assert client.read_to_end() == b""
        assert time.monotonic() - began_at >= IDLE_S

    def asks_twice(port: int) -> None:
        with RawClient(port) as client:
            for count in (1, 2):
                client.send(ASKED)
                client.read_until(b"ok", count)
            answered_at = time.monotonic()
            client.read_to_end()
            assert time.monotonic() - answered_at >= IDLE_S / 2

    asyncio.run(run())


async def test_a_server_that_stops_ends_what_is_idle_at_once() -> None:
    stopping = served(slow_answer, keep_alive_timeout=1000, graceful_timeout=LIMIT_S)
    port = await stopping.__aenter__()
    with RawClient(port) as client:
        await asyncio.to_thread(client.send, ASKED)
        await asyncio.to_thread(client.read_until, b"ok")
        began_at = time.monotonic()
        await stopping.__aexit__(None, None, None)
        assert time.monotonic() - began_at < LIMIT_S / 2
        await asyncio.to_thread(client.read_to_end)


async def test_no_task_waits_for_each_idle_connection() -> None:
    async with served(slow_answer, keep_alive_timeout=1000) as port:
        with ExitStack() as stack:
            clients = [stack.enter_context(RawClient(port)) for _ in range(5)]
            for client in clients:
                await asyncio.to_thread(client.send, ASKED)
            for client in clients:
                await asyncio.to_thread(client.read_until, b"ok")
            running = [repr(task.get_coro()) for task in asyncio.all_tasks()]
        assert sum("_server_callback" in task for task in running) == len(clients)
        assert not any("_idle_timeout" in task for task in running)
