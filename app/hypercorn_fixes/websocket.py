"""Mends of hypercorn 0.18's WebSocket.

Does not know the app.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.ws_stream import Handshake, WSStream


def never_compress() -> None:
    """Refuse every WebSocket extension, permessage-deflate above all (upstream issue 307: it is always negotiated).

    A compressed frame's length follows its text, a context per connection costs memory, and a bomb fits in a small
    frame. Test: `tests/live/test_channel_abuse.py`.
    """
    initialise = Handshake.__init__

    def __init__(self: Handshake, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        self.extensions = None

    Handshake.__init__ = __init__  # type: ignore[method-assign]


def end_oversized_messages() -> None:
    """A WebSocket message over the limit ends its connection, after the close frame with 1009.

    hypercorn sends that frame, goes on collecting bytes, and tells the application nothing. Test:
    `tests/live/test_channel_abuse.py`.
    """
    handle_events = WSStream._handle_events

    async def _handle_events(self: WSStream) -> None:
        await handle_events(self)
        if self.buffer.length > self.buffer.max_length:
            await self.send(StreamClosed(stream_id=self.stream_id))

    WSStream._handle_events = _handle_events  # type: ignore[method-assign]


def drop_what_nobody_reads() -> None:
    """What a WebSocket's client sends after the application has ended is dropped.

    hypercorn puts it into the application's queue, and waits for ever once that is full: the connection and its tasks
    stay, whatever becomes of the socket. Test: `tests/live/test_channel_abuse.py`.
    """
    app_send = WSStream.app_send

    async def _app_send(self: WSStream, message: Any) -> None:
        if message is None and self.app_put is not None:  # The application has ended.
            queue: asyncio.Queue[Any] = self.app_put.__self__  # type: ignore[attr-defined]  # the queue's own `put`
            self.app_put = _nowhere
            while not queue.empty():
                queue.get_nowait()  # Which also wakes the reader, if it waits for room.
        await app_send(self, message)

    WSStream.app_send = _app_send  # type: ignore[method-assign]


async def _nowhere(event: Any) -> None:
    pass
