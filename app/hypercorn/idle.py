"""Closes idle connections with a timer; hypercorn 0.18 does it with tasks."""

from __future__ import annotations

import asyncio
from typing import Any

from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.protocol.h2 import H2Protocol

from app.hypercorn.connection import OwnParts


class NoIdleTasks(OwnParts):
    """hypercorn 0.18 starts two tasks at the end of each request, and cancels them when the next one begins.

    That is a tenth of what hypercorn costs for a short response. And a connection that its client has closed is kept
    until its idle time is over. Here the idle time is one timer of the event loop; a server that stops closes
    everything that is idle.
    Tests: `tests/app/hypercorn/test_idle.py`, `test_connection_limits.py` and `test_stopping.py` in
    `tests/live/fake/limits`, and
    `tests/live/real/http/test_disconnect.py::test_a_hundred_clients_that_vanish_leave_nothing_behind`.
    """

    _idle_timer: _IdleTimer

    def make_idle_task(self) -> Any:
        self._idle_timer = _IdleTimer(self)
        return self._idle_timer

    async def _read_data(self) -> None:
        try:
            await super()._read_data()
        finally:
            # Before the connection's task group ends, which could not start the task that closes it any more.
            self._idle_timer.retire()


class _IdleTimer:
    """In place of hypercorn's task. It can be started again after it fired, and stopped at any time."""

    def __init__(self, connection: OwnParts) -> None:
        self._connection = connection
        self._idle = _IdleConnections.of(connection.context)
        self._timer: asyncio.TimerHandle | None = None
        self._is_retired = False

    async def restart(self, task_group: Any, action: Any) -> None:
        """The connection is idle from now on."""
        self._stop()
        if not self._is_retired:
            limit_s = self._connection.config.keep_alive_timeout
            self._timer = asyncio.get_running_loop().call_later(limit_s, self.fire)
            self._idle.add(self)

    async def stop(self) -> None:
        """The connection is busy, or gone."""
        self._stop()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._idle.discard(self)

    def retire(self) -> None:
        """The connection is gone; a response that ends just now must not start the timer again."""
        self._is_retired = True
        self._stop()

    def fire(self) -> None:
        """Close the connection."""
        self._connection._task_group.spawn(self._end)

    async def _end(self) -> None:
        if self._timer is None:  # A request has come in between.
            return
        protocol = self._connection.protocol.protocol
        if isinstance(protocol, H2Protocol) and not protocol.closed:
            # RFC 9113, section 6.8: a client whose next request is on its way learns that it was not processed.
            protocol.connection.close_connection()
            await protocol._flush()
        await self._connection._initiate_server_close()


class _IdleConnections:
    """The idle connections of one server, and the one task that waits for the server's end."""

    def __init__(self, context: WorkerContext) -> None:
        self._timers: set[_IdleTimer] = set()
        self._context = context
        self._watch = asyncio.create_task(self._end_all())

    @classmethod
    def of(cls, context: WorkerContext) -> _IdleConnections:
        found: _IdleConnections | None = context.__dict__.get("_twowire_idle")
        if found is None:
            found = context.__dict__["_twowire_idle"] = cls(context)
        return found

    def add(self, timer: _IdleTimer) -> None:
        if self._context.terminated.is_set():
            timer.fire()
        else:
            self._timers.add(timer)

    def discard(self, timer: _IdleTimer) -> None:
        self._timers.discard(timer)

    async def _end_all(self) -> None:
        await self._context.terminated.wait()
        for timer in self._timers:
            timer.fire()
        self._timers.clear()
