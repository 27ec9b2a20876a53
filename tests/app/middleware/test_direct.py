"""The routes that generate answer alike through Quart and past it, and a client that leaves ends its request."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
import pytest
from quart.asgi import ASGIHTTPConnection

from app.config.load import load_settings
from app.factory import create_app
from app.server.wiring import make_services
from engine.admission.admission import AdmissionLimits
from engine.manager import EngineManager
from protocol.output import Delta
from tests.app.middleware.guarded import LIMIT_S, PATH
from tests.app.served import served
from tests.engine.fakes import FakeFactory

KEY = "a-long-enough-key"
PLAIN = {"content-type": "application/json", "authorization": f"Bearer {KEY}", "host": "server.example"}
CHAT = {"model": "guide", "messages": [{"role": "user", "content": "hi"}]}
WHOLE, STREAM = orjson.dumps(CHAT), orjson.dumps({**CHAT, "stream": True})
STEPS = [[Delta(0, "one ", 1)], [Delta(0, "two", 1, "stop")]]
MAX_BYTES = 2048
CHANGING = re.compile(rb'"(id|created)":("[^"]*"|\d+)|req_[0-9a-f]{32}|chatcmpl-[0-9a-f]{32}')


class Server:
    """The app, called as a server calls it."""

    def __init__(self, *argv: str, factory: FakeFactory | None = None) -> None:
        self.manager = EngineManager(factory or FakeFactory(STEPS), AdmissionLimits(4, 4))
        settings = load_settings(["--max-body-bytes", str(MAX_BYTES), *argv], {"TWOWIRE_API_KEYS": KEY})
        self.services = make_services(settings, self.manager)
        self.app = create_app(self.services)

    async def call(
        self, headers: Sequence[tuple[str, str]], *parts: bytes, path: str = PATH, method: str = "POST"
    ) -> list[dict[str, Any]]:
        """What it sends to a client that sends `parts`, and stays."""
        sent: list[dict[str, Any]] = []
        todo = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        todo.append({"type": "http.request", "body": b"", "more_body": False})

        async def receive() -> dict[str, Any]:
            if not todo:
                await asyncio.Event().wait()
            return todo.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        async with asyncio.timeout(LIMIT_S):
            await self.app(scope, receive, send)  # type: ignore[arg-type]  # as a server calls it
        return sent


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    server.manager.start()
    await server.manager.wait_settled()
    yield server
    await server.manager.stop()


def shown(sent: list[dict[str, Any]]) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """The status, the headers and the body of an answer, without what differs from one request to the next."""
    start, *parts = sent
    assert start["type"] == "http.response.start"
    assert [part["more_body"] for part in parts] == [True] * (len(parts) - 1) + [False]
    headers = sorted((name, CHANGING.sub(b"*", value)) for name, value in start["headers"])
    return start["status"], headers, CHANGING.sub(b"*", b"".join(part["body"] for part in parts))


@pytest.fixture
def through_quart(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the requests that go through Quart."""
    paths: list[str] = []
    call = ASGIHTTPConnection.__call__

    async def noted(self: ASGIHTTPConnection, receive: Any, send: Any) -> None:
        paths.append(self.scope["path"])
        await call(self, receive, send)

    monkeypatch.setattr(ASGIHTTPConnection, "__call__", noted)
    return paths


@pytest.mark.parametrize(
    ("status", "changed", "parts"),
    [
        (200, {}, [WHOLE]),
        (200, {}, [WHOLE[:9], WHOLE[9:]]),
        (200, {}, [WHOLE[at : at + 1] for at in range(len(WHOLE))]),
        (200, {}, [STREAM]),
        (200, {"x-request-id": "mine"}, [WHOLE]),
        (200, {"content-type": "application/json; charset=utf-8"}, [WHOLE]),
        (200, {"authorization": None, "x-api-key": KEY}, [WHOLE]),
        (200, {"twowire-resume-grace": "9"}, [STREAM]),
        (400, {"twowire-resume-grace": "9"}, [WHOLE]),
        (400, {"x-request-timeout": "soon"}, [WHOLE]),
        (400, {"host": "no host"}, [WHOLE]),
        (400, {}, [b"{"]),
        (400, {}, []),
        (400, {}, [orjson.dumps(CHAT | {"temperature": 9})]),
        (401, {"authorization": "Bearer another"}, [WHOLE]),
        (401, {"authorization": None}, [WHOLE]),
        (404, {}, [orjson.dumps(CHAT | {"model": "another"})]),
        (413, {}, [b" " * (MAX_BYTES // 2)] * 3),
        (413, {"content-length": str(MAX_BYTES + 1)}, [WHOLE]),
        (415, {"content-type": "text/plain"}, [WHOLE]),
        (415, {"content-type": None}, [WHOLE]),
        (415, {"content-type": "application/json; charset=latin-1"}, [WHOLE]),
        (415, {"content-encoding": "gzip"}, [WHOLE]),
        (431, {f"x-{number}": "1" for number in range(200)}, [WHOLE]),
    ],
)
async def test_both_ways_answer_alike(
    server: Server, through_quart: list[str], status: int, changed: dict[str, str | None], parts: list[bytes]
) -> None:
    headers = [(name, value) for name, value in {**PLAIN, **changed}.items() if value is not None]
    direct = shown(await server.call(headers, *parts))
    assert not through_quart
    other = shown(await server.call([*headers, ("origin", "https://page.example")], *parts))
    assert through_quart == [PATH]
    assert direct[0] == status
    if b"twowire-resume-token" in dict(direct[1]):
        secret = (b"twowire-resume-token", b"twowire-follow-token")
        direct, other = (
            (one[0], [pair for pair in one[1] if pair[0] not in secret], one[2]) for one in (direct, other)
        )
    assert direct == other


async def test_what_is_counted_and_logged_is_the_same(server: Server) -> None:
    headers = list(PLAIN.items())
    for more in ([], [("origin", "https://page.example")]):
        await server.call([*headers, *more], STREAM)
        await server.call([*headers, *more], b"{")
    text = server.services.metrics.exposition().decode()
    assert f'twowire_requests_total{{outcome="completed",route="{PATH}",wire="sse"}} 2.0' in text
    assert f'twowire_requests_total{{outcome="refused",route="{PATH}",wire="http"}} 2.0' in text
    assert 'twowire_refusals_total{reason="invalid_json"} 2.0' in text


@pytest.mark.parametrize(
    ("method", "path"), [("GET", PATH), ("OPTIONS", PATH), ("POST", PATH + "/"), ("GET", "/livez")]
)
async def test_everything_else_goes_through_quart(
    server: Server, through_quart: list[str], method: str, path: str
) -> None:
    await server.call(list(PLAIN.items()), method=method, path=path)
    assert through_quart == [path]


async def test_a_server_with_cors_answers_through_quart(through_quart: list[str]) -> None:
    await Server("--cors-origins", "https://page.example").call(list(PLAIN.items()), WHOLE)
    assert through_quart == [PATH]


async def test_an_unforeseen_failure_is_a_plain_500(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*args: Any, **more: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(type(server.services.rates), "headers", fail)
    status, _, body = shown(await server.call(list(PLAIN.items()), WHOLE))
    assert (status, orjson.loads(body)["error"]["code"]) == (500, "internal_error")


@pytest.mark.parametrize("body", [WHOLE, STREAM])
async def test_a_client_that_leaves_ends_its_generation(body: bytes) -> None:
    factory = FakeFactory(STEPS[:1], ends=False)
    server = Server(factory=factory)
    server.manager.start()
    await server.manager.wait_settled()
    async with served(server.app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = "".join(f"{name}: {value}\r\n" for name, value in PLAIN.items())
        writer.write(f"POST {PATH} HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        async with asyncio.timeout(LIMIT_S):
            if body is STREAM:
                await reader.readuntil(b"one ")
            else:
                while not server.manager.active:  # noqa: ASYNC110  # no event tells
                    await asyncio.sleep(0.01)
            assert server.manager.sequences == 1
            writer.close()
            while server.manager.sequences:  # noqa: ASYNC110  # no event tells
                await asyncio.sleep(0.01)
    assert [stream.closed for engine in factory.engines for stream in engine.opened] == [True]
    await server.manager.stop()


async def test_a_refusal_before_the_body_holds_up_nothing(server: Server) -> None:
    """The body is read on while the refusal is sent, so the connection's reader never waits for the application."""
    async with served(server.app, max_app_queue_size=2) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n".encode())
        for _ in range(9):
            writer.write(b" " * 100_000)
        async with asyncio.timeout(LIMIT_S):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 401")
        assert b"connection: close" in answer.lower()
        writer.close()
