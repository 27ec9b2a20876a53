"""Starts an engine that needs followers: says for whom it waits, and for how long at most."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from engine.api import EngineStartError, FollowerLostError, StageReport

POLL_S = 0.25
LOSSES = 4
"""How often a rank must be seen as lost, one time after another."""
REPORT_AGAIN_S = 5.0
LOADING = "loading the model"
LOST = "a rank on another machine ended while it loaded the model; its `twowire engine` says why"

T = TypeVar("T")


class Reports(Protocol):
    """What is known of a start's ranks on other machines."""

    def missing(self) -> Sequence[int]:
        """Those that have not reported."""

    def has_lost(self) -> bool:
        """Whether one is gone that had reported, and was not done; also for a moment when one is done."""


async def unless_missing(start: Coroutine[Any, Any, T], ranks: Reports, report: StageReport, limit_s: float) -> T:
    """The result of `start`; `report` is told for whom it waits.

    Cancels `start` and raises `EngineStartError` when a rank has been missing for `limit_s`, and `FollowerLostError`
    when one is lost.
    """
    starting, shown, since, losses = asyncio.ensure_future(start), LOADING, 0.0, 0
    shown_at = 0.0
    try:
        while not (await asyncio.wait({starting}, timeout=POLL_S))[0]:
            missing, now = ranks.missing(), time.monotonic()
            since = (since or now) if missing else 0.0
            if missing and now - since >= limit_s:
                raise EngineStartError(
                    f"--follower-timeout-s: {_named(missing)} did not report within {limit_s:g} s; is `twowire engine` "
                    "running there, and does it reach --data-parallel-address?"
                )
            losses = losses + 1 if ranks.has_lost() else 0
            if losses >= LOSSES:
                raise FollowerLostError(LOST)
            stage = f"waiting for {_named(missing)}" if missing else LOADING
            # Meanwhile, the ranks of this machine may have reported how far they are.
            if stage != shown or (missing and now - shown_at >= REPORT_AGAIN_S):
                shown, shown_at = stage, now
                report(stage)
        return starting.result()
    finally:
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)


def _named(ranks: Sequence[int]) -> str:
    if len(ranks) == 1:
        return f"rank {ranks[0]}, on another machine"
    return f"the ranks {', '.join(map(str, ranks))}, on other machines"
