"""What an engine says of its ranks: their steps, whether one has work, and that one has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from engine.vllm.ranks.connections import RankConnections
from engine.vllm.ranks.steps import Rank, Steps


class RankedEngine:
    """The part of `VllmEngine` that knows of ranks. An engine that is not data parallel has one."""

    def __init__(self, llm: AsyncLLM) -> None:
        self._llm = llm
        count: int = llm.vllm_config.parallel_config.data_parallel_size
        self._steps = Steps(llm.engine_core, count)
        self.ranks = [Rank(llm, number, self.steps_of, self.beat) for number in range(count)] if count > 1 else []
        """Empty if there is one only."""
        self._connections: RankConnections | None = None

    async def beat(self, rank: int) -> None:
        """Generate one token on a rank and drop it."""
        raise NotImplementedError

    async def watch_ranks(self) -> None:
        """Begin to notice the end of a rank, and send one token through each."""
        if self.ranks:
            self._connections = RankConnections(self._llm.engine_core)
        for rank in range(len(self._steps.by_rank)):
            await self.beat(rank)

    async def close_ranks(self) -> None:
        """Watch no more. Must be called before vLLM is stopped."""
        if self._connections is not None:
            await self._connections.close()

    @property
    def told_at(self) -> Sequence[float]:
        return self._steps.told_at

    @property
    def kv_cache_usage(self) -> float | None:
        return self._steps.kv_cache_usage

    @property
    def own_steps(self) -> Sequence[int]:
        """By rank, of the engine's steps those that this client was told of: all, where it is the only one."""
        return self._steps.by_rank

    def steps_of(self, rank: int) -> int:
        """Steps that a rank has taken."""
        return self._steps.by_rank[rank]

    @property
    def steps_taken(self) -> int:
        return sum(self.steps_of(rank) for rank in range(len(self._steps.by_rank)))

    @property
    def is_busy(self) -> bool:
        # Not what this server holds: an answer that is finished may wait for a slow reader.
        return bool(self._llm.output_processor.has_unfinished_requests())

    @property
    def has_died(self) -> bool:
        """By itself, or killed; perhaps a moment later than `wait_dead` returns."""
        return bool(self._llm.errored)

    def fail_streams(self) -> None:
        """Tell all streams that the engine is gone, as vLLM does where it notices that by itself."""
        core: Any = self._llm.engine_core
        core.resources.engine_dead = True
        self._llm.output_processor.propagate_error(EngineDeadError())

    async def wait_dead(self) -> str:
        """Wait until the engine dies by itself, with any of its ranks; returns the reason."""
        # The handler starts with the first request (the warm-up), and ends only when the engine core is gone.
        handler, connections = self._llm.output_handler, self._connections
        assert handler is not None
        if connections is None:
            await asyncio.wait({handler})
            return "its process ended unexpectedly"
        await asyncio.wait({handler, connections.lost}, return_when=asyncio.FIRST_COMPLETED)
        if not self.has_died:
            self.fail_streams()
        return await connections.who()
