"""A body that nobody takes stays on the network."""

from __future__ import annotations

import asyncio
from typing import Any

from quart import Quart, request

from app.config.load import load_settings
from app.factory import create_app
from app.server.wiring import make_services
from app.uploads.connection import UPLOAD_PATHS, WAITING_BYTES, PacedBody, UploadConnection
from engine.admission.admission import AdmissionLimits
from engine.manager import EngineManager
from tests.engine.fakes import FakeFactory

PIECE = 65_536


def app_that_waits(go: asyncio.Event, taken: list[int]) -> Quart:
    """Reads its body once `go` is set."""
    app = Quart(__name__)
    app.asgi_http_class = UploadConnection
    app.config["MAX_CONTENT_LENGTH"] = None

    async def respond() -> str:
        await go.wait()
        async for data in request.body:
            taken.append(len(data))
        return str(isinstance(request.body, PacedBody))

    for path in (*UPLOAD_PATHS, "/other"):
        app.add_url_rule(path, path, respond, methods=["POST"])
    return app


async def post(app: Quart, path: str, pieces: int, go: asyncio.Event) -> tuple[int, bytes]:
    """How many pieces were read before the app took the first, and what it answered."""
    read, sent = 0, b""

    async def receive() -> dict[str, Any]:
        nonlocal read
        if read == pieces:
            await asyncio.Event().wait()
        read += 1
        return {"type": "http.request", "body": bytes(PIECE), "more_body": read < pieces}

    async def send(message: dict[str, Any]) -> None:
        nonlocal sent
        sent += message.get("body", b"")

    answering = asyncio.ensure_future(app(scope_of(path), receive, send))  # type: ignore[arg-type]  # plain dicts
    for _ in range(4 * pieces):
        await asyncio.sleep(0)
    before = read
    go.set()
    async with asyncio.timeout(30):
        await answering
    return before, sent


def scope_of(path: str, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {
        "type": "http",
        "http_version": "1.1",
        "asgi": {},
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": list(headers),
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "extensions": {},
        "state": {},
    }


async def test_an_upload_is_read_no_faster_than_its_route_takes_it() -> None:
    for path in UPLOAD_PATHS:
        go, taken = asyncio.Event(), list[int]()
        before, answer = await post(app_that_waits(go, taken), path, 100, go)
        assert before == WAITING_BYTES // PIECE
        assert (answer, sum(taken)) == (b"True", 100 * PIECE)
        assert max(taken) <= WAITING_BYTES


async def test_other_bodies_are_as_before() -> None:
    go, taken = asyncio.Event(), list[int]()
    before, answer = await post(app_that_waits(go, taken), "/other", 20, go)
    assert before == 20
    assert (answer, sum(taken)) == (b"False", 20 * PIECE)


async def test_the_server_paces_uploads_of_any_size() -> None:
    """Its connections are of our kind, whatever else they do; the route has a limit of its own."""
    settings = load_settings(["--max-body-bytes", "2048"], {})
    manager = EngineManager(FakeFactory(), AdmissionLimits(4, 4))
    app = create_app(make_services(settings, manager))
    assert issubclass(app.asgi_http_class, UploadConnection)

    async def send(message: Any) -> None:
        pass

    for path in UPLOAD_PATHS:
        connection = app.asgi_http_class(app, scope_of(path, (b"content-length", b"20000000")))  # type: ignore[arg-type]  # plain dicts
        request = connection._create_request_from_scope(send)
        assert isinstance(request.body, PacedBody)
        request.body.append(bytes(4096))
        assert request.body.waiting == 4096
