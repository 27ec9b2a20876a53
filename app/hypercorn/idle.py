"""How hypercorn 0.18 ends connections on which nothing happens: with a timer here, not with tasks.

Does not know the app. hypercorn starts a task at the end of each request, and another one in it, which wait for the
idle time and for the server's end; both are cancelled, and waited for, when the next request begins. That is a tenth of
what hypercorn costs for a short answer.
Tests: `tests/app/hypercorn/test_idle.py`, `tests/live/test_connection_limits.py`, `tests/live/test_stopping.py`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.protocol.h2 import H2Protocol


def time_idle_connections() -> None:
    """Each connection's idle time is one timer of the event loop; a server that stops ends all that are idle."""
    initialise = TCPServer.__init__

    def __init__(self: TCPServer, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        self.idle_task = _IdleTimer(self)  # type: ignore[assignment]  # stands in for hypercorn's task

    TCPServer.__init__ = __init__  # type: ignore[method-assign]


def forget_closed_connections() -> None:
    """A connection that the client has closed must not be kept until the idle timeout.

    hypercorn waits for its idle timer, so that each one costs a socket and its tasks for `keep_alive_timeout`, which is
    long here. Test: `tests/live/test_disconnect.py::test_a_hundred_clients_that_vanish_leave_nothing_behind`.
    """
    read = TCPServer._read_data

    async def _read_data(self: TCPServer) -> None:
        idle: Any = self.idle_task
        try:
            await read(self)
        finally:
            await idle.retire()

    TCPServer._read_data = _read_data  # type: ignore[method-assign]


class _IdleTimer:
    """In place of hypercorn's task. It may be started again after its end, and stopped at any time."""

    def __init__(self, server: TCPServer) -> None:
        self._server = server
        self._idle = _Idle.of(server.context)
        self._timer: asyncio.TimerHandle | None = None
        self._is_retired = False

    async def restart(self, task_group: Any, action: Any) -> None:
        """The connection is idle from now on."""
        await self.stop()
        if not self._is_retired:
            self._timer = asyncio.get_running_loop().call_later(self._server.config.keep_alive_timeout, self.end)
            self._idle.add(self)

    async def stop(self) -> None:
        """It is not idle, or gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._idle.discard(self)

    async def retire(self) -> None:
        """It is gone. An answer that ends just now would start the timer again."""
        self._is_retired = True
        await self.stop()

    def end(self) -> None:
        """Close the connection."""
        self._server._task_group.spawn(self._end)

    async def _end(self) -> None:
        if self._timer is None:  # A request has come in between.
            return
        protocol = self._server.protocol.protocol
        if isinstance(protocol, H2Protocol) and not protocol.closed:
            # RFC 9113, section 6.8: a client whose next request is on its way learns that it was not taken.
            protocol.connection.close_connection()
            await protocol._flush()
        await self._server._initiate_server_close()


class _Idle:
    """The idle connections of one server, and the one task that waits for its end."""

    def __init__(self, context: WorkerContext) -> None:
        self._timers: set[_IdleTimer] = set()
        self._context = context
        self._watch = asyncio.create_task(self._end_all())

    @classmethod
    def of(cls, context: WorkerContext) -> _Idle:
        found: _Idle | None = context.__dict__.get("_twowire_idle")
        if found is None:
            found = context.__dict__["_twowire_idle"] = cls(context)
        return found

    def add(self, timer: _IdleTimer) -> None:
        if self._context.terminated.is_set():
            timer.end()
        else:
            self._timers.add(timer)

    def discard(self, timer: _IdleTimer) -> None:
        self._timers.discard(timer)

    async def _end_all(self) -> None:
        await self._context.terminated.wait()
        for timer in self._timers:
            timer.end()
        self._timers.clear()
