"""Owns the engine for the life of the server: starts it, watches it, replaces it when it dies, admits and refuses.

Does not know which engine it owns, nor any wire. It keeps no state outside its instance.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import structlog

from engine.api import EngineFactory, EngineStartError, EngineStream, Prepared, TextEngine
from engine.deadlines import Deadlines, DeadlineTimer
from engine.generation import Generation, GenerationObserver
from engine.grammar.figures import GrammarFigures
from engine.merged_stream import MergedStream
from engine.queue.fair_queue import FairQueue, QueueEntry
from engine.queue.queued_stream import QueuedStream
from engine.watchdog import EngineWatchdog, WatchdogLimits
from protocol.errors import Fault, TwowireError
from protocol.generation import GenerationRequest

log = structlog.get_logger(__name__)

T = TypeVar("T")

BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 30.0
HEALTHY_AFTER_S = 60.0
"""An engine that lived this long was healthy: its death starts the backoff afresh."""


class EngineState(StrEnum):
    """Where the engine is in its life. Only `READY` can generate."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    DRAINING = "draining"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """`running`: sequences the engine works on at once, and those of one client among them. `queued`: sequences that
    may wait beyond those."""

    running: int
    queued: int
    running_per_client: int | None = None

    @property
    def total(self) -> int:
        return self.running + self.queued


class EngineManager:
    """See the module. Use: `start()`, then `prepare` and `run`, then `stop()`."""

    def __init__(
        self,
        factory: EngineFactory,
        limits: AdmissionLimits,
        *,
        keepalive_s: float = 15.0,
        backoff_first_s: float = BACKOFF_FIRST_S,
        watchdog: WatchdogLimits | None = None,
        has_worked: bool = False,
    ) -> None:
        """`has_worked`: an engine has been started so before, by a process that this one replaces."""
        self.state = EngineState.STARTING
        self.reason = "not started yet"
        self.since = time.time()
        self.restarts = 0
        self.grammar_figures = GrammarFigures()
        """Of all engines since the start."""
        self.on_drain: list[Callable[[], None]] = []
        """Called once, when new work begins to be refused."""
        self._factory = factory
        self._limits = limits
        self._queue = FairQueue(limits.running, limits.queued, limits.running_per_client)
        self._keepalive_s = keepalive_s
        self._backoff_first_s = backoff_first_s
        self._has_worked = has_worked
        self.watchdog = EngineWatchdog(watchdog or WatchdogLimits())
        self._engine: TextEngine | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._generations: dict[Generation, DeadlineTimer | None] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._settled = asyncio.Event()

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to start the engine; returns at once. `wait_settled` tells how it went."""
        self._supervisor = asyncio.create_task(self._supervise(), name="engine-supervisor")

    async def wait_settled(self) -> None:
        """Return once the engine is ready, or the first start has failed."""
        await self._settled.wait()

    @property
    def is_ready(self) -> bool:
        """A token could be generated now."""
        return self.state is EngineState.READY

    @property
    def told_at(self) -> float:
        """When the engine last told the state of its queue, by `time.monotonic`; 0 where there is none."""
        return self._engine.told_at if self._engine is not None else 0.0

    @property
    def sequences(self) -> int:
        """Sequences that run or wait."""
        return self._queue.slots

    @property
    def waiting(self) -> int:
        """Sequences that wait for their turn."""
        return self._queue.waiting

    @property
    def active(self) -> frozenset[Generation]:
        """The generations that hold a place now."""
        return frozenset(self._generations)

    def begin_drain(self) -> None:
        """Refuse new work from now on; what runs goes on."""
        if self.state in (EngineState.STOPPED, EngineState.DRAINING):
            return
        if self.state is not EngineState.FAILED:  # Why it failed is what counts until the end.
            self._become(EngineState.DRAINING, "the server is shutting down")
        while self.on_drain:
            self.on_drain.pop(0)()

    async def stop(self, drain_timeout_s: float = 0.0) -> None:
        """Refuse new work, let generations finish for `drain_timeout_s`, cancel the rest, stop the engine."""
        self.begin_drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_timeout_s):
                await self._idle.wait()
        shutting_down = TwowireError(
            Fault.DRAINING, "The server is shutting down; the generation was ended.", retry_after_s=5
        )
        for generation in list(self._generations):
            await generation.abort(shutting_down)
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        if self.state is not EngineState.FAILED:
            self._become(EngineState.STOPPED, "stopped")

    def _become(self, state: EngineState, reason: str) -> None:
        if state is not self.state:
            log.info("engine_state", state=state.value, reason=reason)
        self.state, self.reason, self.since = state, reason, time.time()

    def _report(self, stage: str) -> None:
        if self.state in (EngineState.STARTING, EngineState.RESTARTING):
            self.reason = stage
            log.info("engine_starting", stage=stage)

    async def _supervise(self) -> None:
        backoff_s = self._backoff_first_s
        self._become(EngineState.STARTING, "starting the engine")
        while True:
            started_at = time.monotonic()
            try:
                died_of = await self._run_engine()
            except EngineStartError as error:
                died_of = str(error)
            except Exception as error:
                log.exception("engine_start_failed")
                died_of = f"{type(error).__name__}: {error}"
            if not (self._settled.is_set() or self._has_worked):
                # The first start failed: nothing has ever worked, so trying again would only hide the reason.
                self._become(EngineState.FAILED, died_of)
                self._settled.set()
                return
            if self.state is EngineState.DRAINING:
                return
            if time.monotonic() - started_at > HEALTHY_AFTER_S:
                backoff_s = self._backoff_first_s
            self.restarts += 1
            self._become(EngineState.RESTARTING, f"the engine died ({died_of}); a new one starts in {backoff_s:g} s")
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def _run_engine(self) -> str:
        """One engine, from its start to its death; returns what it died of. Always closes it."""
        engine = await self._factory(self._report)
        try:
            engine.count_grammars(self.grammar_figures)
            self._engine = engine
            if self.state is not EngineState.DRAINING:
                self._become(EngineState.READY, "ready")
            self._settled.set()
            died_of = await self.watchdog.wait_gone(engine)
            if self.state is EngineState.READY:
                # Now, not when it has been closed, which takes seconds.
                self._become(EngineState.RESTARTING, f"the engine died ({died_of}); its processes are being ended")
            return died_of
        finally:
            self._engine = None
            await engine.close()

    # -- requests -----------------------------------------------------------------------------------------------

    async def prepare(self, request: GenerationRequest, client: str = "") -> Prepared:
        """Render, count and check a request. Raises `TwowireError`, also where there is no room for it."""
        prompts = request.prompt_count
        sequences = request.n * prompts
        # Before the work of rendering, so that a refusal is cheap; `run` checks again.
        self._check_size(sequences, request.fields.prompt if prompts > 1 else "n")
        if not self._queue.has_room(client, sequences):
            raise self._queue_full()
        return await self._ready_engine().prepare(request, client)

    def check_open(self) -> None:
        """Raise `TwowireError` (503) where the server is about to stop."""
        if self.state is EngineState.DRAINING or self.state is EngineState.STOPPED:
            raise TwowireError(
                Fault.DRAINING, "The server is shutting down and takes no new requests.", retry_after_s=5
            )

    def _ready_engine(self) -> TextEngine:
        self.check_open()
        if self._engine is None or not self.is_ready:
            raise self._not_ready()
        return self._engine

    def _not_ready(self) -> TwowireError:
        message = f"The model cannot generate now: {self.state.value} ({self.reason})."
        return TwowireError(Fault.ENGINE_NOT_READY, message, retry_after_s=10)

    def _check_size(self, sequences: int, param: str | None) -> None:
        if sequences > self._limits.total:
            raise TwowireError(
                Fault.INVALID_VALUE,
                f"The request asks for {sequences} sequences at once; this server can hold {self._limits.total}.",
                param=param,
            )

    def _queue_full(self) -> TwowireError:
        queue, queued = self._queue, self._limits.queued
        message = f"The queue is full: of {queue.slots} sequences {queue.waiting} wait, and {queued} may."
        return TwowireError(Fault.QUEUE_FULL, message, retry_after_s=1)

    def find(self, generation_id: str, owner: str | None) -> Generation | None:
        """The generation of that id that runs now and belongs to `owner`, if there is one."""
        for generation in self._generations:
            if generation.id == generation_id and generation.owner == owner:
                return generation
        return None

    async def run(
        self,
        prepared: Prepared,
        observer: GenerationObserver | None = None,
        owner: str | None = None,
        *,
        client: str = "",
        deadlines: Deadlines | None = None,
    ) -> Generation:
        """Put a prepared request into the engine, or into the queue. The caller closes what it gets, whatever happens.

        Places are shared out evenly between clients: see `engine.queue.fair_queue`.

        Past one of its `deadlines` the generation is ended, and fails with an error that says so.

        Raises `TwowireError` where the engine refuses; then nothing is held.
        """
        engine = self._ready_engine()
        self._check_size(prepared.sequences, None)
        # Taken before the first await, so that requests which arrive together cannot all see the last free place.
        entry = self._queue.enter(client, prepared.sequences)
        if entry is None:
            raise self._queue_full()
        generation_id = uuid.uuid4().hex
        stream: EngineStream
        if entry.state == "running":
            try:
                stream = await self._open(engine, prepared, generation_id)
            except BaseException:
                self._queue.leave(entry)
                raise
        else:
            stream = QueuedStream(
                entry,
                lambda: self._open_queued(prepared, generation_id),
                lambda opened: generation.take_stream(opened),
            )
        generation = Generation(
            generation_id,
            prepared,
            stream,
            on_end=lambda ended: self._forget(ended, entry),
            observer=observer,
            owner=owner,
            keepalive_s=self._keepalive_s,
        )
        self._generations[generation] = DeadlineTimer(deadlines, generation) if deadlines is not None else None
        self._idle.clear()
        return generation

    async def _open_queued(self, prepared: Prepared, generation_id: str) -> EngineStream:
        # While the server drains, what waited already may still run.
        if self._engine is None or self.state not in (EngineState.READY, EngineState.DRAINING):
            raise self._not_ready()
        return await self._open(self._engine, prepared, generation_id)

    async def _open(self, engine: TextEngine, prepared: Prepared, generation_id: str) -> EngineStream:
        streams: list[EngineStream] = []
        try:
            for number, prompt in enumerate(prepared.prompts):
                streams.append(await engine.open(prompt, f"{generation_id}-{number}"))
        except BaseException:
            for stream in streams:
                await stream.close()
            raise
        if len(streams) == 1:
            return streams[0]
        return MergedStream(streams, prepared.n)

    def _forget(self, generation: Generation, entry: QueueEntry) -> None:
        self._queue.leave(entry)
        timer = self._generations.pop(generation)
        if timer is not None:
            timer.stop()
        if not self._generations:
            self._idle.set()
