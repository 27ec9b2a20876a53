"""Keeps one engine running: starts it, watches it, and replaces it after a growing delay when it dies.

Serves the text engine and the embedder. A first start that fails is final: nothing has ever worked, so trying again
would only hide the reason.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

import structlog

from engine.api import EngineStartError, FollowerLostError, Progress, StageReport, Watched
from engine.watchdog import EngineWatchdog, WatchdogLimits

log = structlog.get_logger(__name__)

BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 30.0
HEALTHY_AFTER_S = 60.0
"""The backoff starts afresh after an engine that lived this long."""


class EngineState(StrEnum):
    """Where an engine is in its life. Only `READY` can take work."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    DRAINING = "draining"
    FAILED = "failed"
    STOPPED = "stopped"


class Supervised(Watched, Protocol):
    """A running engine or embedder."""

    async def close(self) -> None:
        """Stop it and its processes. Does not raise. May be called after its death."""


E = TypeVar("E", bound=Supervised)


class HasSupervisor(Generic[E]):
    """What the managers of the text engine and of the embedder say of what they keep running."""

    supervisor: Supervisor[E]

    async def wait_settled(self) -> None:
        """Return once it is ready, or the first start has failed."""
        await self.supervisor.wait_settled()

    @property
    def state(self) -> EngineState:
        return self.supervisor.state

    @property
    def reason(self) -> str:
        """Why it is in its state, or what it does to start."""
        return self.supervisor.reason

    @property
    def progress(self) -> Progress | None:
        """How far that is while it starts, if known."""
        return self.supervisor.progress

    @property
    def is_ready(self) -> bool:
        """Whether it could take work now."""
        return self.supervisor.is_ready


class Supervisor(Generic[E]):
    """Use: `run()`, then `begin_drain()` and `stop()`. `engine` is the running one, if any."""

    def __init__(
        self,
        what: str,
        start: Callable[[StageReport], Awaitable[E]],
        *,
        watchdog: WatchdogLimits | None = None,
        backoff_first_s: float = BACKOFF_FIRST_S,
        has_worked: bool = False,
        logs_start: bool = True,
    ) -> None:
        """`what` is its name in the log, such as `engine`; `start` starts one.

        `has_worked`: one was running before, in a process that this one replaces; so even the first start is retried.
        `logs_start`: log stages, and states before the first start has succeeded or failed.
        """
        self.state = EngineState.STARTING
        self.reason = "not started yet"
        self.progress: Progress | None = None
        """How much is done of what `reason` says, while it starts; None if that is unknown."""
        self.since = time.time()
        """When `state` or `reason` last changed, in seconds since 1970."""
        self.restarts = 0
        self.engine_id = ""
        """Names the engine that runs or starts; another one as soon as it is gone. Followers compare it."""
        self.engine: E | None = None
        self.watchdog = EngineWatchdog(watchdog or WatchdogLimits(), what=what)
        self._what = what
        self._events = {kind: f"{what}_{kind}" for kind in ("state", "starting", "start_failed")}
        self._start = start
        self._backoff_first_s = backoff_first_s
        self._has_worked = has_worked
        self._logs_start = logs_start
        self._settled = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._prefix, self._lives = secrets.token_hex(4), 0
        self._name_the_next()

    @property
    def is_ready(self) -> bool:
        return self.state is EngineState.READY

    def run(self) -> None:
        """Begin to start the engine; returns at once."""
        self._task = asyncio.create_task(self._supervise(), name=f"{self._what}-supervisor")

    async def wait_settled(self) -> None:
        """Return once the engine is ready or the first start has failed."""
        await self._settled.wait()

    def begin_drain(self) -> None:
        """Start no other engine; the one that runs goes on. The reason of a failure stays."""
        if self.state not in (EngineState.DRAINING, EngineState.FAILED, EngineState.STOPPED):
            self._become(EngineState.DRAINING, "the server is shutting down")

    async def stop(self) -> None:
        """Close the engine and start no other."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.state is not EngineState.FAILED:
            self._become(EngineState.STOPPED, "stopped")

    def _become(self, state: EngineState, reason: str) -> None:
        is_of_note = self._logs_start or self._settled.is_set() or state in (EngineState.READY, EngineState.FAILED)
        if state is not self.state and is_of_note:
            log.info(self._events["state"], state=state.value, reason=reason)
        self.state, self.reason, self.progress, self.since = state, reason, None, time.time()

    def _name_the_next(self) -> None:
        self._lives += 1
        self.engine_id = f"{self._prefix}-{self._lives}"

    def _report(self, stage: str, progress: Progress | None = None, /) -> None:
        if self.state in (EngineState.STARTING, EngineState.RESTARTING):
            is_new = stage != self.reason
            self.reason, self.progress = stage, progress
            if self._logs_start and is_new:
                log.info(self._events["starting"], stage=stage)

    async def _supervise(self) -> None:
        backoff_s = self._backoff_first_s
        if self.state is not EngineState.DRAINING:  # It may have been told to stop before it began.
            self._become(EngineState.STARTING, f"starting the {self._what}")
        while True:
            started_at, is_worth_retrying = time.monotonic(), self._settled.is_set() or self._has_worked
            try:
                died_of = await self._run_one()
            except EngineStartError as error:
                died_of = str(error)
                self._name_the_next()
            except FollowerLostError as error:
                died_of, is_worth_retrying = str(error), True
                self._name_the_next()
            except Exception as error:
                log.exception(self._events["start_failed"])
                died_of = f"{type(error).__name__}: {error}"
                self._name_the_next()
            if not (is_worth_retrying or self._settled.is_set()):
                self._become(EngineState.FAILED, died_of)
                self._settled.set()
                return
            if self.state is EngineState.DRAINING:
                return
            if time.monotonic() - started_at > HEALTHY_AFTER_S:
                backoff_s = self._backoff_first_s
            self.restarts += 1
            reason = f"the {self._what} died ({died_of}); a new one starts in {backoff_s:g} s"
            self._become(EngineState.RESTARTING, reason)
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def _run_one(self) -> str:
        """Start an engine, wait for its death, close it; returns what it died of."""
        engine = await self._start(self._report)
        try:
            self.engine = engine
            if self.state is not EngineState.DRAINING:
                self._become(EngineState.READY, "ready")
            self._settled.set()
            died_of = await self.watchdog.wait_gone(engine)
            self._name_the_next()
            if self.is_ready:
                # Before it is closed, which takes seconds.
                reason = f"the {self._what} died ({died_of}); its processes are being ended"
                self._become(EngineState.RESTARTING, reason)
            return died_of
        finally:
            self.engine = None
            await engine.close()
