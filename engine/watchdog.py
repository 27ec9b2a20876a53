"""Detects an engine or embedder that hangs, and kills it; `engine.supervisor` starts the next one.

An engine with work must take steps, and so must each of its ranks, if it has several. Steps, not tokens: a long prompt
is read in many steps of bounded size, which give no token. An idle engine takes no steps, so from time to time it is
asked for one token.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import structlog

from engine.api import HasRanks, Watched, WatchedRank
from engine.option import Option

log = structlog.get_logger(__name__)

CHECKS_PER_TIMEOUT = 8
"""How often the engine is checked within the shorter of the two times."""
MAX_CHECK_INTERVAL_S = 5.0
KILLED_S = 30.0
"""How long to wait for the death of a killed engine."""


@dataclass(frozen=True, slots=True)
class WatchdogLimits:
    """When an engine or embedder counts as hung. Without `stall_timeout_s`, nothing is watched."""

    heartbeat_interval_s: Annotated[
        float,
        Option(
            "After this many idle seconds, the engine must generate one token, and the embedder embed one letter, to "
            "prove that they still work; 0 turns this off.",
            ge=0,
        ),
    ] = 30.0
    stall_timeout_s: Annotated[
        float,
        Option(
            "How long an engine or embedder with work may go without a step before it is killed and replaced. A step "
            "computes one token for each running request, or a bounded part of a long prompt. Must exceed the longest "
            "step; 0 turns this off.",
            ge=0,
        ),
    ] = 120.0


class EngineWatchdog:
    """Watches one engine after another; `what` is its name in the log."""

    def __init__(
        self, limits: WatchdogLimits, clock: Callable[[], float] = time.monotonic, what: str = "engine"
    ) -> None:
        self.heartbeats = 0
        """Heartbeats that were answered."""
        self.hangs = 0
        self._limits = limits
        self._clock = clock
        self._what = what
        times = [limits.stall_timeout_s, limits.heartbeat_interval_s or limits.stall_timeout_s]
        self._interval_s = min(min(times) / CHECKS_PER_TIMEOUT, MAX_CHECK_INTERVAL_S)

    async def wait_gone(self, engine: Watched) -> str:
        """Wait until the engine dies, by itself or because it hung and was killed; returns what it died of."""
        if not self._limits.stall_timeout_s:
            return await engine.wait_dead()
        dead = asyncio.ensure_future(engine.wait_dead())
        try:
            return await self._watch(engine, dead)
        finally:
            dead.cancel()
            await asyncio.gather(dead, return_exceptions=True)

    async def _watch(self, engine: Watched, dead: asyncio.Future[str]) -> str:
        ranks = engine.ranks if isinstance(engine, HasRanks) else ()
        watched = [_Rank(rank, number) for number, rank in enumerate(ranks)] or [_Rank(engine, None)]
        checked_at = self._clock()
        try:
            while not (await asyncio.wait({dead}, timeout=self._interval_s))[0]:
                now = self._clock()
                # Time in which this process itself stood still is not the engine's fault.
                passed_s, checked_at = min(now - checked_at, 2 * self._interval_s), now
                for rank in watched:
                    if self._hangs(rank, passed_s):
                        return await self._end(engine, dead, rank)
            return dead.result()
        finally:
            beats = [rank.beat for rank in watched if rank.beat is not None]
            for beat in beats:
                beat.cancel()
            await asyncio.gather(*beats, return_exceptions=True)

    def _hangs(self, rank: _Rank, passed_s: float) -> bool:
        """Look at a rank; ask it for a heartbeat if it is time."""
        if rank.beat is not None and rank.beat.done():
            self._note(rank.beat)
            rank.beat = None
        is_busy = rank.watched.is_busy or rank.beat is not None
        has_moved, rank.steps = rank.watched.steps_taken != rank.steps, rank.watched.steps_taken
        rank.quiet_s = 0.0 if has_moved else rank.quiet_s + passed_s
        rank.stalled_s = 0.0 if has_moved or not is_busy else rank.stalled_s + passed_s
        if rank.stalled_s >= self._limits.stall_timeout_s:
            return True
        if not is_busy and 0 < self._limits.heartbeat_interval_s <= rank.quiet_s:
            rank.quiet_s = 0.0
            rank.beat = asyncio.create_task(rank.watched.heartbeat(), name=f"{self._what}-heartbeat")
        return False

    def _note(self, beat: asyncio.Task[None]) -> None:
        error = beat.exception()
        if error is None:
            self.heartbeats += 1
        else:
            # `wait_dead` notices an engine that dies; one that refuses a token does not hang.
            log.warning("heartbeat_failed", of=self._what, error=repr(error))

    async def _end(self, engine: Watched, dead: asyncio.Future[str], rank: _Rank) -> str:
        self.hangs += 1
        who = "it" if rank.number is None else f"its rank {rank.number}"
        reason = f"{who} took no step for {self._limits.stall_timeout_s:g} s, though it had work"
        event, of_rank = f"{self._what}_hung", {} if rank.number is None else {"rank": rank.number}
        log.error(
            event,
            was="idle" if rank.beat is not None else "busy",
            stall_timeout_s=self._limits.stall_timeout_s,
            **of_rank,
        )
        engine.kill()
        # From here on, as if it had crashed: its requests fail first, then this returns.
        await asyncio.wait({dead}, timeout=KILLED_S)
        return reason


class _Rank:
    """What is known of a rank; `number` is None if it is the whole engine."""

    def __init__(self, watched: WatchedRank, number: int | None) -> None:
        self.watched = watched
        self.number = number
        self.steps = watched.steps_taken
        self.quiet_s = 0.0
        self.stalled_s = 0.0
        self.beat: asyncio.Task[None] | None = None
