"""A body that nobody takes stays on the network."""

from __future__ import annotations

import asyncio
from typing import Any

from quart import Quart, request

from app.uploads.connection import UPLOAD_PATHS, WAITING_BYTES, PacedBody, UploadConnection

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

    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "asgi": {},
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "extensions": {},
        "state": {},
    }
    answering = asyncio.ensure_future(app(scope, receive, send))  # type: ignore[arg-type]  # a scope of plain dicts
    for _ in range(4 * pieces):
        await asyncio.sleep(0)
    before = read
    go.set()
    async with asyncio.timeout(30):
        await answering
    return before, sent


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
