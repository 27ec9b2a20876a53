"""Runs a client against hypercorn with all fixes, and without one: the second must show the defect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from tests.app.served import served
from tests.live.clients.raw import RawClient
from tests.live.clients.raw_http2 import Http2Client

LIMIT_S = 5
NEVER_S = 0.6
"""How long to wait for what should not come."""
HOST = b"Host: localhost\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"

T = TypeVar("T")


async def answers(scope: Any, receive: Any, send: Any) -> None:
    """Answers each request at once, without reading it, and accepts each WebSocket."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def with_and_without(
    fix: str, ask: Callable[[int], T], app: Any = answers, *, never: Collection[str] = (), **settings: Any
) -> tuple[T, T]:
    """What `ask` returns, given the port of `app`: with `fix`, and without it. The fixes in `never` are out in both."""
    found = []
    for without in (never, (*never, fix)):
        async with served(app, without=without, **settings) as port:
            found.append(await asyncio.to_thread(ask, port))
    return found[0], found[1]


async def comes(event: asyncio.Event) -> bool:
    """Whether `event` is set in time."""
    try:
        async with asyncio.timeout(NEVER_S):
            await event.wait()
    except TimeoutError:
        return False
    return True


def head_of(raw: bytes) -> Callable[[int], bytes]:
    """Sends `raw`, and returns what comes up to the end of the headers."""

    def ask(port: int) -> bytes:
        with RawClient(port) as client:
            client.send(raw)
            return client.read_until(b"\r\n\r\n", limit_s=LIMIT_S).lower()

    return ask


def status_of(raw: bytes) -> Callable[[int], int]:
    """Sends `raw`, and returns the response's status."""
    return lambda port: int(head_of(raw)(port).split()[1])


def is_closed(client: RawClient | Http2Client) -> bool:
    """Whether the server closes the connection in time."""
    try:
        client.read_to_end(NEVER_S)
    except (TimeoutError, AssertionError):
        return False
    return True
