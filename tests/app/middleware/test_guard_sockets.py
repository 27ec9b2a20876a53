"""No generation outlives its connection, behind the real hypercorn. On a fake engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.run import worker_serve
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h11 import H11Protocol

from app.hypercorn import install
from tests.app.middleware.guarded import LIMIT_S, PATH, Harness, body, until
from tests.engine.fakes import FakeFactory, words
from tests.live.clients.raw import request_bytes


@dataclass
class SocketClient:
    """A connection, and the server at its other end: `serving` returns after `stop` was set."""

    writer: asyncio.StreamWriter
    stop: asyncio.Event
    serving: asyncio.Task[None]


@asynccontextmanager
async def connected(harness: Harness, *, stream: bool) -> AsyncIterator[SocketClient]:
    """A socket client whose generation runs, behind hypercorn."""
    install()
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.graceful_timeout = 0.05
    config.errorlog = None
    sockets = config.create_sockets()
    port = sockets.insecure_sockets[0].getsockname()[1]
    stop = asyncio.Event()
    serving = asyncio.create_task(
        worker_serve(ASGIWrapper(harness.app), config, sockets=sockets, shutdown_trigger=stop.wait)
    )
    # The app's start-up has begun; hypercorn listens after it.
    await harness.manager.wait_settled()
    sockets.insecure_sockets[0].listen()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request_bytes(PATH, body(stream=stream)))
    try:
        await until(lambda: bool(harness.streams))
        if stream:
            async with asyncio.timeout(LIMIT_S):
                await reader.readuntil(b"data: ")
        yield SocketClient(writer, stop, serving)
    finally:
        writer.close()
        stop.set()
        async with asyncio.timeout(LIMIT_S):
            await asyncio.wait({serving})


@pytest.fixture
def unserved() -> Harness:
    """As `harness`, but hypercorn starts the engine."""
    return Harness(FakeFactory(words("a", "b")[:1], ends=False))


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_hypercorn_that_stops_ends_what_still_runs(unserved: Harness, stream: bool) -> None:
    async with connected(unserved, stream=stream) as client:
        client.stop.set()
        async with asyncio.timeout(LIMIT_S):
            await asyncio.wait({client.serving})
        assert unserved.streams[0].closed
        # The manager, which stops later, would have ended it as `failed`.
        assert unserved.outcomes() == {"cancelled": 1}


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_a_connection_that_crashes_ends_its_generation(
    unserved: Harness, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    handle = H11Protocol.handle

    async def handle_or_crash(self: H11Protocol, event: Event) -> None:
        if isinstance(event, RawData) and event.data == b"crash":
            raise OSError("the connection crashed")
        await handle(self, event)

    monkeypatch.setattr(H11Protocol, "handle", handle_or_crash)
    async with connected(unserved, stream=stream) as client:
        before = len(asyncio.all_tasks())
        client.writer.write(b"crash")
        await until(lambda: unserved.streams[0].closed)
        assert unserved.outcomes() == {"cancelled": 1}
        assert unserved.manager.sequences == 0
        # Quart's two tasks survive the crash, with nothing left to do.
        await until(lambda: len(asyncio.all_tasks()) < before)


async def test_a_connection_that_crashes_while_the_server_stops(
    unserved: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    install()
    handle = H11Protocol.handle

    async def handle_or_crash(self: H11Protocol, event: Event) -> None:
        await handle(self, event)
        if isinstance(event, Closed):
            raise ValueError("the connection crashed")

    monkeypatch.setattr(H11Protocol, "handle", handle_or_crash)
    async with connected(unserved, stream=False) as client:
        client.stop.set()
        client.writer.close()
        async with asyncio.timeout(LIMIT_S):
            await client.serving
