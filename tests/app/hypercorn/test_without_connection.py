"""Each fix for connections and for stopping: what hypercorn does with it, and without it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypercorn.asyncio import run
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h11 import H11Protocol

from app.hypercorn import fast_writer_of
from tests.app.hypercorn.without import GET, NEVER_S, answers, comes, status_of, with_and_without
from tests.app.served import installed, served
from tests.live.clients.raw import RawClient

WITH_AND_WITHOUT = [(False, True), (True, False)]


async def endless(scope: Any, receive: Any, send: Any) -> None:
    """Sends until its client is gone."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
        await asyncio.sleep(0)  # Nothing waits once the client is gone.


async def test_limit_connections() -> None:
    def second(port: int) -> int:
        with RawClient(port) as first:
            first.send(GET)
            first.read_until(b"ok")
            return status_of(GET)(port)

    assert await with_and_without("LimitConnections", second, max_connections=1) == (503, 200)


async def crashes_while_it_stops(*without: str) -> None:
    async with served(answers, without=without) as port:
        client = RawClient(port)
        await asyncio.to_thread(client.send, GET)
        await asyncio.to_thread(client.read_until, b"ok")
    client.leave("close")


async def test_contain_crashes(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = H11Protocol.handle

    async def handle_or_crash(self: H11Protocol, event: Event) -> None:
        await handle(self, event)
        if isinstance(event, Closed):
            raise ValueError("the connection crashed")

    monkeypatch.setattr(H11Protocol, "handle", handle_or_crash)
    await crashes_while_it_stops()
    with pytest.raises(ExceptionGroup):
        await crashes_while_it_stops("ContainCrashes")


async def stops_in_time(*without: str) -> bool:
    stuck = served(endless, without=without, send_timeout_s=1000)
    port = await stuck.__aenter__()
    with RawClient(port, receive_buffer=4096) as client:
        await asyncio.to_thread(client.send, GET)
        await asyncio.to_thread(client.read_until, b"\r\n\r\n")
        stopping = asyncio.ensure_future(stuck.__aexit__(None, None, None))
        done, _ = await asyncio.wait({stopping}, timeout=NEVER_S)
    await stopping
    return bool(done)


async def test_cut_cancelled_connections() -> None:
    assert await stops_in_time()
    assert not await stops_in_time("CutCancelledConnections")


async def test_no_idle_tasks() -> None:
    async def waiting_tasks(*without: str) -> int:
        async with served(answers, without=without) as port:
            with RawClient(port) as client:
                await asyncio.to_thread(client.send, GET)
                await asyncio.to_thread(client.read_until, b"ok")
                return sum("_idle_timeout" in repr(task.get_coro()) for task in asyncio.all_tasks())

    assert await waiting_tasks() == 0
    assert await waiting_tasks("NoIdleTasks") == 1


class Writer:
    """Notes what is written."""

    def __init__(self) -> None:
        self.transport = self
        self.written: list[bytes] = []

    def write(self, raw: bytes) -> None:
        self.written.append(raw)

    async def drain(self) -> None:
        pass


@pytest.mark.parametrize(("without", "written"), [((), [b"x"]), (("KeepCancelledWrites",), [])])
async def test_keep_cancelled_writes(without: tuple[str, ...], written: list[bytes]) -> None:
    writer: Any = Writer()
    context, loop, reader = WorkerContext(None), asyncio.get_running_loop(), asyncio.StreamReader()
    with installed(("NoIdleTasks", "CutStuckReaders", "GatherWrites", *without)):
        app: Any = answers
        connection = run.TCPServer(app, loop, Config(), context, {}, reader, writer)  # type: ignore[attr-defined]
    async with connection.send_lock:  # Another stream of the connection is sending.
        sending = asyncio.create_task(connection.protocol_send(RawData(b"x")))
        await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait({sending})
    assert writer.written == written


async def ends_for_a_stuck_reader(*without: str) -> bool:
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        sending = asyncio.ensure_future(endless(scope, receive, send))
        while (await receive())["type"] != "http.disconnect":
            pass
        ended.set()
        sending.cancel()

    async with served(app, without=without, send_timeout_s=0.1) as port:
        with RawClient(port, receive_buffer=4096) as client:
            await asyncio.to_thread(client.send, GET)
            await asyncio.to_thread(client.read_until, b"\r\n\r\n")
            return await comes(ended)


async def test_cut_stuck_readers() -> None:
    assert await ends_for_a_stuck_reader()
    assert not await ends_for_a_stuck_reader("CutStuckReaders")


async def test_gather_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []
    write = asyncio.selector_events._SelectorSocketTransport.write  # type: ignore[attr-defined]  # asyncio's own loop

    def noted(self: Any, raw: bytes) -> None:
        writes.append(raw)
        write(self, raw)

    monkeypatch.setattr(asyncio.selector_events._SelectorSocketTransport, "write", noted)  # type: ignore[attr-defined]

    async def writes_of_a_response(*without: str) -> int:
        writes.clear()
        async with served(answers, without=without) as port:
            with RawClient(port) as client:
                await asyncio.to_thread(client.send, GET)
                await asyncio.to_thread(client.read_until, b"ok")
        return len(writes)

    assert await writes_of_a_response() == 1
    assert await writes_of_a_response("GatherWrites") > 1


async def test_name_stream() -> None:
    found: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(fast_writer_of(scope) is not None)
        await answers(scope, receive, send)

    await with_and_without("NameStream", status_of(GET), app)
    assert found == [True, False]


class Listener:
    """asyncio's server, as Python 3.12.1 has it, with an open connection."""

    def close(self) -> None:
        pass

    async def wait_closed(self) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize(("without", "is_closed"), [((), True), (("CloseListenersAtOnce",), False)])
async def test_close_listeners_at_once(
    without: tuple[str, ...], is_closed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start_server(*_: Any, **__: Any) -> Listener:
        return Listener()

    monkeypatch.setattr(asyncio, "start_server", start_server)
    with installed(without):
        listener: Any = await run.asyncio.start_server()  # type: ignore[attr-defined]  # the name that hypercorn uses
        listener.close()
        done, waiting = await asyncio.wait({asyncio.ensure_future(listener.wait_closed())}, timeout=0.1)
        for task in waiting:
            task.cancel()
    assert bool(done) is is_closed
