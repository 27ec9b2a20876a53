"""The channel's glue to Quart, by ASGI: what waits between the socket and the channel is bounded."""

from __future__ import annotations

import asyncio
from typing import Any

from app.channel.endpoint import INBOX_MESSAGES
from app.factory import create_app
from app.generation.table import CHAT
from tests.app.channel.channels import Harness, open_harness, turn, until

SCOPE: dict[str, Any] = {
    "type": "websocket",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "scheme": "ws",
    "path": CHAT.path,
    "raw_path": CHAT.path.encode(),
    "query_string": b"",
    "root_path": "",
    "headers": [
        (b"host", b"localhost"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    ],
    "subprotocols": [],
    "client": ("127.0.0.1", 1),
    "server": ("127.0.0.1", 2),
    "extensions": {"websocket.http.response": {}},
    "state": {},
}


class Socket:
    """The server's side of ASGI: an endless supply of messages, and a list of what is sent."""

    def __init__(self, message: str) -> None:
        self.given = 0
        self.sent: list[dict[str, Any]] = []
        self.left = asyncio.Event()
        self._message = message

    async def receive(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        self.given += 1
        if self.given == 1:
            return {"type": "websocket.connect"}
        if self.left.is_set():
            return {"type": "websocket.disconnect", "code": 1006}
        return {"type": "websocket.receive", "bytes": None, "text": self._message}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)


async def serve(harness: Harness, socket: Socket) -> asyncio.Task[None]:
    app = create_app(harness.services)
    scope = SCOPE | {"state": {}}
    return asyncio.ensure_future(app(scope, socket.receive, socket.send))  # type: ignore[arg-type]  # as a server calls it


async def test_a_client_that_sends_faster_than_is_read_has_to_wait(monkeypatch: Any) -> None:
    parsing, may_end = asyncio.Event(), asyncio.Event()

    async def slowly(function: Any, message: str) -> Any:
        parsing.set()
        await may_end.wait()
        return function(message)

    async with open_harness() as harness:
        monkeypatch.setattr(harness.services.parser, "run", slowly)
        socket = Socket("[" + " " * 100_000 + "]")
        serving = await serve(harness, socket)
        async with asyncio.timeout(5):
            await parsing.wait()
            await turn(100)
            # One is being parsed, and one is on its way into the full inbox.
            assert socket.given <= 1 + 1 + INBOX_MESSAGES + 1
            socket.left.set()
            may_end.set()
            await serving
        assert len(harness.services.connections) == 0


async def test_a_flood_ends_the_channel_with_its_code() -> None:
    async with open_harness() as harness:
        socket = Socket('{"type":"pong"}')
        serving = await serve(harness, socket)
        await until(lambda: any(message["type"] == "websocket.close" for message in socket.sent))
        assert next(message for message in socket.sent if message["type"] == "websocket.close")["code"] == 1008
        socket.left.set()
        async with asyncio.timeout(5):
            await serving
        assert len(harness.services.connections) == 0
