"""Fixes how hypercorn 0.18 stops.

Does not know the app.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hypercorn.asyncio import run
from hypercorn.asyncio.tcp_server import TCPServer


def stop_with_open_connections() -> None:
    """An open connection must not keep the server from ending (upstream issue 308).

    hypercorn closes the listening sockets and waits for that; from Python 3.12.1 on, asyncio's `wait_closed` waits for
    every connection as well, without a limit, before `graceful_timeout` begins. After that time it cancels them, and
    each then waits to send what its client does not take. Fix: the first wait returns at once, and a cancelled
    connection is cut. Test: `tests/live/test_stopping.py::test_an_open_connection_does_not_keep_it_from_ending`.
    """
    close = TCPServer._close

    async def _close(self: TCPServer) -> None:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            self.writer.transport.abort()
        await close(self)

    TCPServer._close = _close  # type: ignore[method-assign]
    run.asyncio = _Asyncio()  # type: ignore[attr-defined, assignment]  # what that module alone sees of it


class _Asyncio:
    """The library, but for the servers that it starts."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    async def start_server(*args: Any, **kwargs: Any) -> _Listener:
        return _Listener(await asyncio.start_server(*args, **kwargs))


class _Listener:
    def __init__(self, server: asyncio.Server) -> None:
        self.close = server.close

    async def wait_closed(self) -> None:
        """The listening sockets are closed when `close` returns; the connections have their own time to end."""
