"""Keys, odd paths and slow bodies, on a fake engine behind the real hypercorn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.run import worker_serve
from hypercorn.config import Config

from app.config.load import load_settings
from app.factory import create_app
from app.hypercorn import install
from app.server.wiring import make_services
from engine.admission.admission import AdmissionLimits
from engine.manager import EngineManager
from tests.engine.fakes import FakeFactory, words
from tests.live.clients.raw import answer_of, request_bytes

KEY = "a-key-for-tests-0123456789"
CHAT = "/v1/chat/completions"
BODY = orjson.dumps({"model": "guide", "messages": [{"role": "user", "content": "hi"}]})
LIMIT_S = 5


@asynccontextmanager
async def served(*flags: str, environment: dict[str, str] | None = None) -> AsyncIterator[int]:
    """The app behind hypercorn on a free port of this machine, which is what this gives."""
    install()
    manager = EngineManager(FakeFactory(words("a", "b")), AdmissionLimits(4, 4))
    app = create_app(make_services(load_settings(list(flags), environment or {}), manager))
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    sockets = config.create_sockets()
    stop = asyncio.Event()
    serving = asyncio.create_task(worker_serve(ASGIWrapper(app), config, sockets=sockets, shutdown_trigger=stop.wait))
    try:
        await manager.wait_settled()
        sockets.insecure_sockets[0].listen()
        yield sockets.insecure_sockets[0].getsockname()[1]
    finally:
        stop.set()
        async with asyncio.timeout(LIMIT_S):
            await asyncio.wait({serving})


async def asked(port: int, *parts: bytes) -> tuple[int, dict[str, str], bytes]:
    """What comes back for `parts`, sent on one connection; the server ends it, or the answer is whole."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
    received = b""
    try:
        async with asyncio.timeout(LIMIT_S):
            while raw := await reader.read(65536):
                received += raw
    finally:
        writer.close()
    return answer_of(received)


def request(path: str = CHAT, *lines: str, method: str = "POST", body: bytes = BODY) -> bytes:
    headers = "".join(f"{line}\r\n" for line in ("Connection: close", *lines))
    return request_bytes(path, body, method=method, headers=headers)


WRONG_KEYS: dict[str, list[str]] = {
    "none": [],
    "another": ["Authorization: Bearer another-key"],
    "Bearer alone": ["Authorization: Bearer"],
    "Bearer and a space": ["Authorization: Bearer "],
    "no scheme": [f"Authorization: {KEY}"],
    "another scheme": [f"Authorization: Basic {KEY}"],
    "twice": [f"Authorization: Bearer {KEY}"] * 2,
    "right and wrong": ["Authorization: Bearer another-key", f"Authorization: Bearer {KEY}"],
    "not ASCII": ["Authorization: Bearer k\xe9y\xff"],
    "64 KiB": ["Authorization: Bearer " + "k" * 65536],
    "folded": ["Authorization: Bearer", f" {KEY}x"],
}


async def test_a_wrong_key_is_a_401_in_openais_shape(subtests: pytest.Subtests) -> None:
    async with served(environment={"TWOWIRE_API_KEYS": KEY}) as port:
        for name, lines in WRONG_KEYS.items():
            with subtests.test(name):
                status, headers, body = await asked(port, request(CHAT, *lines))
                if name == "64 KiB" and status == 431:  # h11 may see only its beginning, and refuses that.
                    continue
                assert status == 401
                assert headers["www-authenticate"] == "Bearer"
                error = orjson.loads(body)["error"]
                assert (error["type"], error["param"], error["code"]) == (
                    "invalid_request_error",
                    None,
                    "invalid_api_key",
                )
                assert KEY not in error["message"]
        for scheme in ("Bearer", "bearer", "BEARER"):
            assert (await asked(port, request(CHAT, f"Authorization: {scheme} {KEY}")))[0] == 200


PATHS = [
    CHAT,
    "/v1/completions",
    "/v1/models",
    "/v1/models/guide",
    "/v1/models/../../livez/..",
    "/v1/nothing",
    "/nothing",
    "/metrics",
    "//v1/chat/completions",
    "///v1/chat/completions",
    "/v1//chat/completions",
    "/v1/../v1/chat/completions",
    "/livez/../v1/chat/completions",
    "/static/../v1/chat/completions",
    "/static/%2e%2e/v1/chat/completions",
    "/%76%31/chat/completions",
    "/v1%2fchat%2fcompletions",
    "/v1/chat/completions/",
    "/v1/chat/completions;a=b",
    "/v1/chat/completions%00",
    "/V1/CHAT/COMPLETIONS",
    "/v1/chat/completions?path=/livez",
    "http://localhost/v1/chat/completions",
]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_and_method_is_behind_the_key(path: str) -> None:
    async with served(environment={"TWOWIRE_API_KEYS": KEY}) as port:
        answers = {method: (await asked(port, request(path, method=method)))[0] for method in METHODS}
    if path.startswith("/static"):
        # The pages' folder is public, and has no such file; asking which methods it knows tells nothing.
        assert {answers.pop(method) for method in ("GET", "HEAD")} == {404}
        assert answers.pop("OPTIONS") == 200
    assert set(answers.values()) == {401}, answers


@pytest.mark.parametrize("sent", [b"", BODY[:10]], ids=["a body that never comes", "a body that stops coming"])
async def test_a_body_that_does_not_come_in_time_is_a_408(sent: bytes) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for framing in (f"Content-Length: {len(BODY)}\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"):
        chunk = b"%x\r\n%s" % (len(BODY), sent) if "chunked" in framing and sent else sent
        async with served("--body-timeout-s", "0.2") as port:
            status, _, body = await asked(port, head.encode(), framing.encode(), chunk)
        assert status == 408
        error = orjson.loads(body)["error"]
        assert error["code"] == "request_timeout"
        assert "0.2" in error["message"]


async def test_a_slow_body_holds_up_nobody() -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    async with served("--body-timeout-s", "1") as port:
        slow = [asyncio.create_task(asked(port, head.encode(), b"{")) for _ in range(50)]
        assert (await asked(port, request()))[0] == 200
        assert not any(task.done() for task in slow)
        assert {(await task)[0] for task in slow} == {408}
