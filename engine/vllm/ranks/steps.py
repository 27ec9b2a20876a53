"""Counts the engine's steps by rank, and keeps what each rank last said of itself.

This module does not import vLLM. It reads attributes of its objects, named as in vLLM 0.32: `DPLBAsyncMPClient` and
`EngineCoreOutputs`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any


class Steps:
    """What this client of the engine core is told: of all steps, where it is the only one."""

    def __init__(self, core: Any, ranks: int) -> None:
        """`core` is vLLM's client; its method for outputs is replaced."""
        self.by_rank = [0] * ranks
        self.told_at = [0.0] * ranks
        """When each rank last reported the state of its queue, by `time.monotonic`; 0 if it has not."""
        self._usages: list[float | None] = [None] * ranks
        get_output = core.get_output_async

        async def counted() -> Any:
            """Once per step, with its statistics also where that made no token."""
            outputs = await get_output()
            rank = outputs.engine_index if ranks > 1 else 0
            self.by_rank[rank] += 1
            if outputs.scheduler_stats is not None:
                self.told_at[rank] = time.monotonic()
                self._usages[rank] = outputs.scheduler_stats.kv_cache_usage
            return outputs

        core.get_output_async = counted

    @property
    def kv_cache_usage(self) -> float | None:
        """The share in use of the KV caches together: each rank has as much. None before the first report."""
        told = [usage for usage in self._usages if usage is not None]
        return sum(told) / len(self._usages) if told else None


class Rank:
    """One rank, as the watchdog sees it."""

    def __init__(
        self,
        llm: Any,
        number: int,
        steps: Callable[[int], int],
        heartbeat: Callable[[int], Awaitable[None]],
    ) -> None:
        self._requests = llm.output_processor.request_states
        self._core = llm.engine_core
        self._number = number
        self._steps = steps
        self._heartbeat = heartbeat

    @property
    def steps_taken(self) -> int:
        return self._steps(self._number)

    @property
    def is_busy(self) -> bool:
        """Whether a request that has not ended was sent to this rank."""
        sent_to, identity = self._core.reqs_in_flight, self._core.core_engines[self._number]
        return any(sent_to.get(request) == identity for request in self._requests)

    async def heartbeat(self) -> None:
        await self._heartbeat(self._number)
