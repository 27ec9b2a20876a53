"""No generation outlives its request, whichever way the request ends; and what the app answers on the way.

On a fake engine. The client is either the test itself, which speaks ASGI, or a socket behind the real hypercorn.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from app.observability.record import RequestRecord
from engine.api import Prepared, StageReport
from engine.generation import Generation
from protocol.chat.request import ChatCompletionRequest
from protocol.generation import GenerationRequest
from tests.app.middleware.guarded import LIMIT_S, PATH, Harness, body, until
from tests.engine.fakes import FakeEngine, FakeFactory, words


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    harness = Harness(FakeFactory(words("a", "b")[:1], ends=False))
    harness.manager.start()
    await harness.manager.wait_settled()
    yield harness
    await harness.manager.stop()


class AsgiClient:
    """Speaks ASGI to the app: it sends one chat, and takes what comes until it is told not to."""

    def __init__(self, harness: Harness, *, stream: bool, origin: str | None = None) -> None:
        """`origin`: with one, the request goes through Quart."""
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
            "headers": [
                (b"host", b"localhost"),
                (b"content-type", b"application/json"),
                *([(b"origin", origin.encode())] if origin is not None else []),
            ],
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


async def preparing(*, stream: bool, origin: str | None = None) -> tuple[SlowFactory, Harness, AsgiClient]:
    """A client whose chat is being prepared. The caller stops the manager."""
    factory = SlowFactory()
    harness = Harness(factory)
    harness.manager.start()
    await harness.manager.wait_settled()
    client = AsgiClient(harness, stream=stream, origin=origin)
    await until(factory.preparing.is_set)
    return factory, harness, client


async def test_a_request_that_ends_while_it_is_prepared() -> None:
    factory, harness, client = await preparing(stream=True, origin="http://localhost")
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


async def test_a_request_served_directly_ends_with_its_task() -> None:
    factory, harness, client = await preparing(stream=True)
    client.task.cancel()
    async with asyncio.timeout(LIMIT_S):
        await asyncio.wait({client.task})
    assert client.task.cancelled()
    assert factory.left.is_set()
    assert (harness.streams, client.sent) == ([], [])
    await harness.manager.stop()


async def test_a_client_that_leaves_while_its_request_is_prepared_is_waited_for_no_more() -> None:
    """What a schema takes to compile is not for nobody."""
    factory, harness, client = await preparing(stream=False)
    client.left.set()
    async with asyncio.timeout(LIMIT_S):
        await asyncio.wait({client.task})
    assert factory.left.is_set()
    assert (harness.streams, client.sent) == ([], [])
    await harness.manager.stop()


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
