"""Stopping with open connections: fixes for hypercorn 0.18 (upstream issue 308)."""

from __future__ import annotations

import asyncio
from typing import Any

from hypercorn.asyncio.tcp_server import TCPServer


class CutCancelledConnections(TCPServer):
    """hypercorn 0.18 cancels connections after `graceful_timeout`, and each then waits for its client to read.

    Here a cancelled connection is cut.
    Test: `tests/live/fake/limits/test_stopping.py::test_an_open_connection_does_not_keep_it_from_ending`.
    """

    async def _close(self) -> None:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            self.writer.transport.abort()
        await super()._close()


class CloseListenersAtOnce:
    """hypercorn 0.18 waits for all connections before `graceful_timeout` begins, on Python 3.12.1 and later.

    It closes its listening sockets and calls asyncio's `wait_closed`, which has waited for every connection since then,
    without a limit. Stands in for the name `asyncio` in hypercorn's module: there that wait returns at once.
    Tests: `tests/app/hypercorn/test_without_connection.py::test_close_listeners_at_once`, and on such a Python
    `tests/live/fake/limits/test_stopping.py::test_an_open_connection_does_not_keep_it_from_ending`.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    async def start_server(*args: Any, **kwargs: Any) -> _Listener:
        return _Listener(await asyncio.start_server(*args, **kwargs))


class _Listener:
    def __init__(self, server: asyncio.Server) -> None:
        self.close = server.close

    async def wait_closed(self) -> None:
        """The sockets are closed when `close` returns; the connections have their own time to end."""
