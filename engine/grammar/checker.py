"""Lets only constraints reach the engine that the worker compiled within the limits.

At most `AT_ONCE` are compiled at a time, one per client; clients share fairly (`engine.queue.fair_queue`). Requests
with the same constraint share one compile, which goes on as long as one of them waits. Verdicts are remembered.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from engine.grammar.cache import VerdictCache
from engine.grammar.constraint import BackendSpec, CompileLimits, Constraint, Verdict
from engine.grammar.figures import GrammarFigures
from engine.grammar.process import GrammarProcess, WorkerDiedError
from engine.queue.fair_queue import FairQueue, QueueEntry
from protocol.errors import Fault, TwowireError

log = structlog.get_logger(__name__)

AT_ONCE = 2
MAX_QUEUED = 64
MAX_QUEUED_PER_CLIENT = 8

_NOUNS = {"json": "JSON schema", "structural_tag": "structural tag", "choice": "choice"}
"""What clients call a constraint, if not by its kind."""


class CompileProcess(Protocol):
    """What a checker needs of a worker; see `engine.grammar.process`."""

    @property
    def is_alive(self) -> bool: ...

    async def compile(self, constraint: Constraint) -> Verdict: ...

    async def close(self) -> None: ...


@dataclass(slots=True, eq=False)
class _Seat:
    """One client's requests that wait for one compile."""

    entry: QueueEntry | None
    """None once the job runs, or another seat has left the queue for it."""
    verdict: asyncio.Future[Verdict]
    waiting: int = 0


@dataclass(slots=True, eq=False)
class _Job:
    """One constraint that waits or is being compiled."""

    constraint: Constraint
    key: bytes
    seats: dict[str, _Seat] = field(default_factory=dict)
    entry: QueueEntry | None = None
    """The queue entry that it runs in."""
    task: asyncio.Task[None] | None = None


class GrammarChecker:
    """Use: `check` any number of times, then `close`. The first constraint starts the worker."""

    def __init__(
        self,
        spec: BackendSpec,
        limits: CompileLimits,
        start: Callable[[BackendSpec, CompileLimits], Awaitable[CompileProcess]] = GrammarProcess.start,
    ) -> None:
        self.figures = GrammarFigures()
        """What is counted. May be replaced."""
        self._spec = spec
        self._limits = limits
        self._start = start
        self._queue = FairQueue(AT_ONCE, MAX_QUEUED, per_client=1)
        self._queued: Counter[str] = Counter()
        """Seats in the queue, by client."""
        self._jobs: dict[bytes, _Job] = {}
        self._verdicts = VerdictCache()
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting: asyncio.Task[CompileProcess] | None = None

    async def check(self, constraint: Constraint, client: str, param: str) -> None:
        """Return once the engine can compile `constraint` within the limits.

        `param` is the field it came in. Raises `TwowireError`: INVALID_SCHEMA if the constraint is refused, QUEUE_FULL
        if too many wait.
        """
        key = constraint.key
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = await self._waited(constraint, key, client)
        else:
            self.figures.hits += 1
        if verdict.outcome != "accepted":
            raise _refusal(constraint, verdict, self._limits, param)

    async def close(self) -> None:
        """Fail what waits, and end the worker."""
        for job in list(self._jobs.values()):
            self._settle(job, _stopped())
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        starting, self._starting = self._starting, None
        if starting is not None:
            starting.cancel()
            (process,) = await asyncio.gather(starting, return_exceptions=True)
            if not isinstance(process, BaseException):
                await process.close()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- waiting ------------------------------------------------------------------------------------------------

    async def _waited(self, constraint: Constraint, key: bytes, client: str) -> Verdict:
        job = self._jobs.get(key)
        if job is None:
            job = _Job(constraint, key)
        seat = job.seats.get(client) or self._take_seat(job, client)
        seat.waiting += 1
        try:
            return await asyncio.shield(seat.verdict)
        finally:
            seat.waiting -= 1
            if not seat.waiting and job.seats.get(client) is seat:
                self._leave(job, client)

    def _take_seat(self, job: _Job, client: str) -> _Seat:
        seat = _Seat(None, asyncio.get_running_loop().create_future())
        if job.task is None:
            if self._queued[client] >= MAX_QUEUED_PER_CLIENT:
                raise _queue_full(f"{MAX_QUEUED_PER_CLIENT} of this client's wait already")
            entry = self._queue.enter(client, 1)
            if entry is None:
                raise _queue_full(f"{MAX_QUEUED} wait already")
            seat.entry = entry
            entry.on_change = lambda: self._changed(job, client, entry)
        self._jobs[job.key] = job
        job.seats[client] = seat
        if seat.entry is not None:
            self._queued[client] += 1
            if seat.entry.state == "running":
                self._run(job, client)
        return seat

    def _changed(self, job: _Job, client: str, entry: QueueEntry) -> None:
        if entry.state == "running":
            self._run(job, client)
            return
        seat = job.seats[client]
        self._leave(job, client)
        _fail(seat, _queue_full(f"{MAX_QUEUED} wait already"))

    def _leave(self, job: _Job, client: str) -> None:
        """Drop a seat that nobody waits in any more."""
        seat = job.seats.pop(client)
        self._leave_queue(client, seat)
        if not job.seats:
            self._forget(job)
            if job.task is not None:
                job.task.cancel()

    def _leave_queue(self, client: str, seat: _Seat) -> None:
        """Take the seat out of the queue."""
        if seat.entry is not None:
            entry, seat.entry = seat.entry, None
            self._dequeue(client)
            self._queue.leave(entry)

    def _dequeue(self, client: str) -> None:
        self._queued[client] -= 1
        if not self._queued[client]:
            del self._queued[client]

    def _forget(self, job: _Job) -> None:
        if self._jobs.get(job.key) is job:
            del self._jobs[job.key]

    # -- compiling ----------------------------------------------------------------------------------------------

    def _run(self, job: _Job, client: str) -> None:
        """Start the compile in the slot of one client; the others leave the queue."""
        first = job.seats[client]
        job.entry, first.entry = first.entry, None
        self._dequeue(client)
        job.task = asyncio.create_task(self._compile(job), name="grammar-compile")
        self._tasks.add(job.task)
        job.task.add_done_callback(lambda task: self._ran(job, task))
        for other, seat in job.seats.items():
            self._leave_queue(other, seat)

    async def _compile(self, job: _Job) -> None:
        try:
            verdict = await self._compiled(job.constraint)
            self.figures.compiled(verdict)
            if verdict.is_final:
                self._verdicts.put(job.key, verdict)
            if verdict.outcome == "failed":
                log.error("grammar_worker_failed", reason=verdict.message)
            elif verdict.outcome not in ("accepted", "refused"):
                log.warning("grammar_refused", reason=verdict.outcome, cpu_s=verdict.cpu_s, mib=int(verdict.peak_mib))
            self._settle(job, verdict)
        except Exception:
            log.exception("grammar_worker_failed")
            self._settle(job, _worker_failed())

    def _ran(self, job: _Job, task: asyncio.Task[None]) -> None:
        # Not in the task itself: one that is cancelled at once never begins.
        self._tasks.discard(task)
        assert job.entry is not None
        self._queue.leave(job.entry)

    def _settle(self, job: _Job, result: Verdict | TwowireError) -> None:
        self._forget(job)
        for client, seat in list(job.seats.items()):
            self._leave_queue(client, seat)
            if isinstance(result, TwowireError):
                _fail(seat, result)
            elif not seat.verdict.done():
                seat.verdict.set_result(result)
        job.seats.clear()

    async def _compiled(self, constraint: Constraint) -> Verdict:
        try:
            return await (await self._process()).compile(constraint)
        except WorkerDiedError as error:
            # Perhaps killed from outside; another may do.
            log.warning("grammar_worker_died", reason=str(error))
        return await (await self._process()).compile(constraint)

    async def _process(self) -> CompileProcess:
        before = self._starting
        if before is None or (before.done() and not _is_good(before)):
            self._starting = asyncio.create_task(self._started(before), name="grammar-worker-start")
            self._starting.add_done_callback(_was_seen)
        assert self._starting is not None
        # Shielded: others may still need it when one request leaves.
        return await asyncio.shield(self._starting)

    async def _started(self, before: asyncio.Task[CompileProcess] | None) -> CompileProcess:
        if before is not None and not before.cancelled() and before.exception() is None:
            await before.result().close()
        return await self._start(self._spec, self._limits)


def _was_seen(started: asyncio.Task[CompileProcess]) -> None:
    """Retrieve its failure, in case nobody waits for it any more."""
    if not started.cancelled():
        started.exception()


def _is_good(started: asyncio.Task[CompileProcess]) -> bool:
    return not started.cancelled() and started.exception() is None and started.result().is_alive


def _fail(seat: _Seat, error: TwowireError) -> None:
    if not seat.verdict.done():
        seat.verdict.set_exception(error)
        seat.verdict.exception()  # Retrieved, in case nobody waits for it any more.


def _queue_full(why: str) -> TwowireError:
    return TwowireError(Fault.QUEUE_FULL, f"Too many JSON schemas are waiting to be compiled: {why}.", retry_after_s=1)


def _worker_failed() -> TwowireError:
    return TwowireError(Fault.INTERNAL, "The grammar worker failed; the server's log says why.")


def _stopped() -> TwowireError:
    return TwowireError(
        Fault.ENGINE_NOT_READY, "The engine stopped before the JSON schema was compiled.", retry_after_s=5
    )


def _refusal(constraint: Constraint, verdict: Verdict, limits: CompileLimits, param: str) -> TwowireError:
    noun = _NOUNS.get(constraint.kind, constraint.kind)
    match verdict.outcome:
        case "refused":
            message = f"The {noun} cannot be followed: {verdict.message}"
        case "too_slow":
            message = f"The {noun} takes more than {limits.cpu_s:g} s to compile; make it simpler."
        case "too_large":
            message = f"The {noun} takes more than {limits.memory_mib} MiB of memory to compile; make it simpler."
        case "failed":
            return _worker_failed()
        case "crashed":
            message = f"The {noun} makes the grammar compiler fail; write it in another way."
        case _:
            busy = f"The server is too busy to compile the {noun} now."
            return TwowireError(Fault.QUEUE_FULL, busy, retry_after_s=2)
    return TwowireError(Fault.INVALID_SCHEMA, message, param=param)
