"""Takes some bodies no faster than their route reads them.

Quart 0.22 stores what arrives until the route takes it, however far the network is ahead of a route that reads a body
in pieces.
Test: `tests/app/uploads/test_connection.py`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable
from quart import Request
from quart.asgi import ASGIHTTPConnection
from quart.wrappers.request import Body

UPLOAD_PATHS = frozenset({"/v1/audio/transcriptions", "/v1/audio/translations"})
WAITING_BYTES = 256 * 1024
"""From so many bytes on that the route has not taken, nothing more is read from the connection."""


class PacedBody(Body):
    """A body that is read in pieces. Its size is the reader's to limit."""

    def __init__(self) -> None:
        super().__init__(None, None)
        self._room = asyncio.Event()
        self._room.set()

    @property
    def waiting(self) -> int:
        """Bytes that the route has not taken."""
        return len(self._data)

    def append(self, data: bytes) -> None:
        super().append(data)
        if self.waiting >= WAITING_BYTES:
            self._room.clear()

    async def __anext__(self) -> bytes:
        data = await super().__anext__()
        self._room.set()
        return data

    async def wait_for_room(self) -> None:
        """Wait until the route has taken what is there."""
        await self._room.wait()


class UploadConnection(ASGIHTTPConnection):
    """A request whose body is paced, if its path is one of `UPLOAD_PATHS`."""

    def _create_request_from_scope(self, send: ASGISendCallable) -> Request:
        request = super()._create_request_from_scope(send)
        if request.path in UPLOAD_PATHS:
            request.body = PacedBody()
        return request

    async def handle_messages(self, request: Request, receive: ASGIReceiveCallable) -> None:
        body = request.body
        if not isinstance(body, PacedBody):
            await super().handle_messages(request, receive)
            return

        async def paced() -> Any:
            await body.wait_for_room()
            return await receive()

        await super().handle_messages(request, paced)
