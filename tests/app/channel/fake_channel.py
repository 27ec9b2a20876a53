"""A small fake of the server's channel, for the tests of the client: a script per connection.

Each test says frame by frame what happens.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

LIMITS: dict[str, float] = {"max_message_bytes": 4096, "ping_interval_s": 25.0, "idle_timeout_s": 60.0}
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


class Peer:
    """The fake's end of one connection."""

    def __init__(self, socket: ServerConnection) -> None:
        self._socket = socket
        self.headers = socket.request.headers if socket.request is not None else Headers()

    async def next(self, kind: str) -> dict[str, Any]:
        """The client's next frame, which must be a `kind`; heartbeats on the way to it are skipped."""
        while True:
            frame: dict[str, Any] = json.loads(await self._socket.recv())
            if frame["type"] == kind or frame["type"] not in ("ping", "pong"):
                assert frame["type"] == kind, frame
                return frame

    async def send(self, kind: str, **fields: Any) -> None:
        await self._socket.send(json.dumps({"type": kind, **fields}))

    async def create(self, token: str | None = None) -> str:
        """Take a create and admit it."""
        frame = await self.next("chat.completion.create")
        name = str(frame["stream_id"])
        more = {} if token is None else {"resume_token": token}
        await self.send("chat.completion.created", stream_id=name, event_id=frame["event_id"], id=f"c-{name}", **more)
        return name

    async def chunks(self, name: str, first: int, text: str) -> None:
        """A chunk for each character, numbered from `first`."""
        for seq, character in enumerate(text, first):
            choice = {"index": 0, "delta": {"content": character}, "finish_reason": None}
            await self.send("chat.completion.chunk", stream_id=name, seq=seq, data={"choices": [choice]})

    async def done(self, name: str, seq: int, status: str = "completed") -> None:
        await self.send("chat.completion.done", stream_id=name, seq=seq, status=status, usage=USAGE)

    async def refuse(self, frame: dict[str, Any], status: int, error: dict[str, Any]) -> None:
        ids = {"stream_id": frame["stream_id"], "event_id": frame["event_id"]}
        await self.send("error", **ids, status=status, error=error)

    def cut(self) -> None:
        self._socket.transport.abort()

    async def close(self, code: int) -> None:
        await self._socket.close(code)


Script = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def fake(*connections: Script | int) -> AsyncIterator[str]:
    """A server whose first connection follows the first script, and so on; a number is a refusal. Yields its URL.

    What a script finds wrong fails the test at the end, and so does a connection that was not made.
    """
    left = list(connections)
    failures: list[BaseException] = []

    async def follow(socket: ServerConnection) -> None:
        peer = Peer(socket)
        script = left.pop(0)
        assert not isinstance(script, int)
        try:
            await peer.send("connection.ready", connection_id="x", limits=LIMITS)
            await script(peer)
            await socket.wait_closed()
        except ConnectionClosed:
            pass
        except AssertionError as failure:
            failures.append(failure)
            peer.cut()

    def check(_: ServerConnection, request: Request) -> Response | None:
        assert request.path == "/v1/chat/completions"
        if not isinstance(left[0], int):
            return None
        status = left.pop(0)
        assert isinstance(status, int)
        error = {"message": "No.", "type": "t", "param": None, "code": f"code_{status}"}
        headers = Headers({"Retry-After": "0", "Content-Type": "application/json"})
        return Response(status, HTTPStatus(status).phrase, headers, json.dumps({"error": error}).encode())

    protocols = [Subprotocol("twowire.v1")]
    async with serve(follow, "127.0.0.1", 0, process_request=check, subprotocols=protocols) as server:
        yield f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
    assert not failures, failures
    assert not left, "a connection was not made"
