"""How hypercorn 0.18 ends connections on which nothing happens: with a timer here, not with tasks.

Does not know the app. hypercorn starts a task at the end of each request, and another one in it, which wait for the
idle time and for the server's end; both are cancelled, and waited for, when the next request begins. That is a tenth of
what hypercorn costs for a short answer.
Tests: `tests/app/test_idle.py`, `tests/live/test_connection_limits.py`, `tests/live/test_stopping.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext


def time_idle_connections() -> None:
    """Each connection's idle time is one timer of the event loop; a server that stops ends all that are idle."""
    initialise = TCPServer.__init__

    def __init__(self: TCPServer, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        self.idle_task = _IdleTimer(self)  # type: ignore[assignment]  # stands in for hypercorn's task

    TCPServer.__init__ = __init__  # type: ignore[method-assign]


class _IdleTimer:
    """In place of hypercorn's task. It may be started again after its end, and stopped at any time."""

    def __init__(self, server: TCPServer) -> None:
        self._server = server
        self._idle = _Idle.of(server.context)
        self._timer: asyncio.TimerHandle | None = None

    async def restart(self, task_group: Any, action: Callable[..., Any]) -> None:
        """The connection is idle from now on."""
        await self.stop()

        def end() -> None:
            task_group.spawn(self._server._initiate_server_close)

        self._timer = asyncio.get_running_loop().call_later(self._server.config.keep_alive_timeout, end)
        self._idle.add(self, end)

    async def stop(self) -> None:
        """It is not idle, or gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._idle.discard(self)


class _Idle:
    """The idle connections of one server, and the one task that waits for its end."""

    def __init__(self, context: WorkerContext) -> None:
        self._ends: dict[_IdleTimer, Callable[[], None]] = {}
        self._context = context
        self._watch = asyncio.create_task(self._end_all())

    @classmethod
    def of(cls, context: WorkerContext) -> _Idle:
        found: _Idle | None = context.__dict__.get("_twowire_idle")
        if found is None:
            found = context.__dict__["_twowire_idle"] = cls(context)
        return found

    def add(self, timer: _IdleTimer, end: Callable[[], None]) -> None:
        if self._context.terminated.is_set():
            end()
        else:
            self._ends[timer] = end

    def discard(self, timer: _IdleTimer) -> None:
        self._ends.pop(timer, None)

    async def _end_all(self) -> None:
        await self._context.terminated.wait()
        for end in list(self._ends.values()):
            end()
        self._ends.clear()
