"""No generation outlives its request, whichever way the request ends; and what the app answers on the way.

On a fake engine. The client is either the test itself, which speaks ASGI, or a socket behind the real hypercorn.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.run import worker_serve
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h11 import H11Protocol
from quart import Quart

from app.config.load import load_settings
from app.factory import create_app
from app.hypercorn import install
from app.observability.record import RequestRecord
from app.server.wiring import make_services
from engine.api import Prepared, StageReport
from engine.generation import Generation
from engine.manager import AdmissionLimits, EngineManager
from protocol.chat.request import ChatCompletionRequest
from protocol.generation import GenerationRequest
from tests.engine.fakes import FakeEngine, FakeFactory, FakeStream, words
from tests.live.clients.raw import request_bytes

LIMIT_S = 5
PATH = "/v1/chat/completions"


def body(*, stream: bool) -> dict[str, object]:
    return {"model": "guide", "messages": [{"role": "user", "content": "hi"}], "stream": stream}


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until `condition` holds."""
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event of its own
            await asyncio.sleep(0)


class Harness:
    """The app on a fake engine whose answers begin and never end."""

    def __init__(self, factory: FakeFactory) -> None:
        self.factory = factory
        self.manager = EngineManager(factory, AdmissionLimits(4, 4))
        self.services = make_services(load_settings([], {}), self.manager)
        self.app: Quart = create_app(self.services)

    @property
    def streams(self) -> list[FakeStream]:
        return [stream for engine in self.factory.engines for stream in engine.opened]

    def outcomes(self) -> dict[str, float]:
        """How the generations ended, as `/metrics` tells it."""
        return {
            sample.labels["outcome"]: sample.value
            for family in self.services.metrics.generations.collect()
            for sample in family.samples
            if sample.name.endswith("_total")
        }


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    harness = Harness(FakeFactory(words("a", "b")[:1], ends=False))
    harness.manager.start()
    await harness.manager.wait_settled()
    yield harness
    await harness.manager.stop()


class AsgiClient:
    """Speaks ASGI to the app: it sends one chat, and takes what comes until it is told not to."""

    def __init__(self, harness: Harness, *, stream: bool) -> None:
        self.sent: list[dict[str, Any]] = []
        self.left = asyncio.Event()
        self.takes = asyncio.Event()
        self.takes.set()
        self._requests = [{"type": "http.request", "body": orjson.dumps(body(stream=stream)), "more_body": False}]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "extensions": {},
        }
        self.task = asyncio.ensure_future(harness.app(scope, self._receive, self._send))  # type: ignore[arg-type]  # as a server calls it

    async def _receive(self) -> dict[str, Any]:
        if self._requests:
            return self._requests.pop()
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.sent.append(message)
        await self.takes.wait()


async def test_a_handler_cancelled_before_the_first_step_of_its_response(harness: Harness) -> None:
    client = AsgiClient(harness, stream=True)
    client.takes.clear()
    await until(lambda: bool(client.sent))
    assert [message["type"] for message in client.sent] == ["http.response.start"], "the body has not been begun"
    client.left.set()
    async with asyncio.timeout(LIMIT_S):
        await asyncio.wait({client.task})
    assert [stream.closed for stream in harness.streams] == [True]
    assert harness.outcomes() == {"cancelled": 1}
    assert harness.manager.sequences == 0


class SlowFactory(FakeFactory):
    """Its engines prepare a chat only when `prepares` is set."""

    def __init__(self) -> None:
        super().__init__(words("a", "b")[:1], ends=False)
        self.prepares = asyncio.Event()
        self.preparing = asyncio.Event()
        self.left = asyncio.Event()
        """A client left while its chat was prepared."""

    async def __call__(self, report: StageReport) -> FakeEngine:
        engine = await super().__call__(report)
        prepare = engine.prepare

        async def wait_and_prepare(request: GenerationRequest, client: str = "") -> Prepared:
            self.preparing.set()
            try:
                await self.prepares.wait()
            except asyncio.CancelledError:
                self.left.set()
                raise
            return await prepare(request)

        engine.prepare = wait_and_prepare  # type: ignore[method-assign]  # one of this engine's alone
        return engine


async def test_a_request_that_ends_while_it_is_prepared() -> None:
    factory = SlowFactory()
    harness = Harness(factory)
    harness.manager.start()
    await harness.manager.wait_settled()
    client = AsgiClient(harness, stream=True)
    await until(factory.preparing.is_set)
    # What hypercorn does when a connection crashes: Quart's own tasks know nothing of it, and go on.
    client.task.cancel()
    async with asyncio.timeout(LIMIT_S):
        await asyncio.wait({client.task})
    assert not harness.streams
    factory.prepares.set()
    await until(lambda: bool(harness.streams))
    await until(lambda: harness.streams[0].closed)
    assert harness.manager.sequences == 0
    assert harness.outcomes() == {"cancelled": 1}
    assert not client.sent, "nobody was there to be answered"
    await harness.manager.stop()


async def test_a_client_that_leaves_while_its_request_is_prepared_is_waited_for_no_more() -> None:
    """What a schema takes to compile is not for nobody."""
    factory = SlowFactory()
    harness = Harness(factory)
    harness.manager.start()
    await harness.manager.wait_settled()
    client = AsgiClient(harness, stream=False)
    await until(factory.preparing.is_set)
    client.left.set()
    async with asyncio.timeout(LIMIT_S):
        await asyncio.wait({client.task})
    assert factory.left.is_set()
    assert (harness.streams, client.sent) == ([], [])
    await harness.manager.stop()


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
        # The manager, which stops later, would have ended it as «failed».
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
        # Quart's two tasks, which the crash left alone, have nothing to go on with.
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


async def test_the_guard_closes_all_that_a_request_adopted(harness: Harness) -> None:
    record = RequestRecord("POST", PATH, "r")
    prepared = await harness.manager.prepare(
        ChatCompletionRequest.model_validate(body(stream=False)).generation_request()
    )
    generations: list[Generation] = [await harness.manager.run(prepared) for _ in range(2)]
    for generation in generations:
        await record.adopt(generation, generation.close)
    await record.close()
    assert [generation.outcome for generation in generations] == ["cancelled", "cancelled"]
    late = await harness.manager.run(prepared)
    with pytest.raises(asyncio.CancelledError):
        await record.adopt(late, late.close)
    assert late.outcome == "cancelled"
    assert harness.manager.sequences == 0
