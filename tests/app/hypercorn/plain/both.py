"""HTTP/1.1 without sockets: the same bytes to hypercorn with the shortcuts and without them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h11 import H2ProtocolAssumedError
from hypercorn.typing import ConnectionState

from app.hypercorn.config import ServerConfig
from app.hypercorn.fixes import Http1Protocol
from app.hypercorn.plain.requests import ShortenRequests
from app.hypercorn.plain.responses import ShortenResponses

TURNS = 12
"""Turns of the event loop that a request and its response take at most, each way."""
SHORTCUTS: Collection[type] = (ShortenRequests, ShortenResponses)


@dataclass
class Seen:
    """What one connection came to."""

    sent: bytearray = field(default_factory=bytearray)
    """To the client."""
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    """Of the application: each request, and whether its client stayed for the response."""
    is_closed: bool = False
    http2: bytes = b""
    """What is left to HTTP/2."""
    states: Any = None
    """Of h11's connection in the end."""


async def seen(pieces: Iterable[bytes], *, without: Collection[type] = ()) -> Seen:
    """Send `pieces`, then the end of the connection, to hypercorn with all fixes but these."""
    found, config = Seen(), ServerConfig()
    config.include_date_header, config.errorlog = False, None
    config.max_app_queue_size = 100_000  # Some of the applications do not read.
    bases = tuple(base for base in Http1Protocol.__bases__ if base not in without)
    made = type("Protocol", bases, {})

    async def send(event: Event) -> None:
        if isinstance(event, RawData) and not found.is_closed:
            found.sent += event.data
        elif isinstance(event, Closed):
            found.is_closed = True

    async def app(scope: Any, receive: Any, respond: Any) -> None:
        await _answer(found, scope, receive, respond)

    async with asyncio.timeout(30), TaskGroup(asyncio.get_running_loop()) as group:
        protocol: Any = made(
            *(ASGIWrapper(app), config, WorkerContext(None), group, ConnectionState({}), False),
            *(("127.0.0.1", 1), ("127.0.0.1", 2), send),
        )
        for piece in pieces:
            if found.is_closed:
                break
            try:
                await protocol.handle(RawData(piece))
            except H2ProtocolAssumedError as error:
                found.is_closed, found.http2 = True, error.data
            await _settle()
        found.states = getattr(protocol.connection, "states", None)
        await protocol.handle(Closed())
        await _settle()
    return found


async def _settle() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def _answer(found: Seen, scope: Any, receive: Any, respond: Any) -> None:
    """Answer in a way that depends on the request alone; outside `/plain`, some of them before they have been read."""
    if scope["type"] != "http":
        return
    asked = {name: value for name, value in scope.items() if name not in ("state", "extensions", "asgi")}
    rng = random.Random(repr(asked))
    body = bytearray()
    is_plain = scope["path"].startswith("/plain")
    is_read = is_plain or rng.random() < 0.8
    while is_read:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    found.asked.append((asked, bytes(body)))
    headers = rng.choices(HEADERS[:3] if is_plain else HEADERS, k=rng.randrange(4))
    parts = [rng.randbytes(rng.randrange(40)) for _ in range(rng.randrange(4))]
    if rng.random() < 0.5:
        headers.append((b"content-length", b"%d" % sum(map(len, parts))))
    status = 200 if is_plain else rng.choice(STATUSES)
    await respond({"type": "http.response.start", "status": status, "headers": headers})
    for part in parts:
        await respond({"type": "http.response.body", "body": part, "more_body": True})
    await respond({"type": "http.response.body", "body": b"", "more_body": False})


STATUSES = (200,) * 8 + (204, 304, 404, 500)
HEADERS = [
    *((b"content-type", b"text/event-stream"), (b"X-Odd", b""), (b"x-words", b"a b\tc"), (b"x-high", b"\xe9")),
    *((b"connection", b"close"), (b"Transfer-Encoding", b"chunked"), (b"x-twice", b"1"), (b"x-twice", b"2")),
]
