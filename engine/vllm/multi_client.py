"""A running `AsyncLLM` that several API servers share: the leader's and the followers'."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from engine.adapters.api import Adapter, AdapterError
from engine.api import EngineStartError
from engine.sharing.follower import Follower
from engine.sharing.leader import Leader
from engine.sharing.meeting import Addresses, Place, unless_gone
from engine.vllm.engine import VllmEngine
from engine.vllm.started import Started


class LeaderEngine(VllmEngine):
    """The engine of the API server that launched it. Ready once all followers are."""

    def __init__(self, started: Started, place: Place, addresses: Sequence[Addresses]) -> None:
        super().__init__(started)
        self._leave_s = place.leave_s
        self._leader = Leader(place, addresses, steps=self._steps_by_rank, kill=self.kill)

    def steps_of(self, rank: int) -> int:
        """vLLM reports each step to one API server only."""
        return super().steps_of(rank) + self._leader.steps_of(rank)

    def _steps_by_rank(self) -> Sequence[int]:
        return [self.steps_of(rank) for rank in range(len(self.own_steps))]

    async def warm_up(self) -> None:
        await super().warm_up()
        await unless_gone(self._leader.wait_joined(), self.wait_dead())

    async def close(self) -> None:
        # The followers were told to stop when this one was; their streams may still be finishing.
        try:
            await self._leader.close(wait_s=0.0 if self.has_died else self._leave_s)
        finally:
            await super().close()


class FollowerEngine(VllmEngine):
    """The engine of an API server that joined it."""

    def __init__(self, started: Started, follower: Follower) -> None:
        super().__init__(started)
        self._follower = follower
        self._has_adapters: set[int] = set()

    def steps_of(self, rank: int) -> int:
        return super().steps_of(rank) + self._follower.steps_of(rank)

    async def warm_up(self) -> None:
        await self._follower.while_there(super().warm_up())
        await self._follower.while_there(self._load_adapters())
        self._follower.ready(lambda: self.own_steps)

    async def _load_adapters(self) -> None:
        """Load those that were named, before the first API server says that all are ready.

        Where they can change, this is no time to load any: `Adapters.start` does, once it knows which are served.
        """
        if self._config.adapters.can_change:
            return
        for adapter in self._config.adapters.loaded:
            try:
                await super().load_adapter(adapter)
            except AdapterError as error:
                raise EngineStartError(f"--lora: {adapter.name!r} cannot be loaded: {error}") from error
            self._has_adapters.add(adapter.id)

    async def load_adapter(self, adapter: Adapter) -> None:
        if adapter.id not in self._has_adapters:
            await super().load_adapter(adapter)

    def kill(self) -> None:
        self._follower.kill()

    async def wait_dead(self) -> str:
        dead, gone = asyncio.ensure_future(super().wait_dead()), asyncio.ensure_future(self._follower.wait_gone())
        try:
            await asyncio.wait({dead, gone}, return_when=asyncio.FIRST_COMPLETED)
            if dead.done():
                return dead.result()
            self.fail_streams()
            return "the first API server has it no more"
        finally:
            dead.cancel()
            gone.cancel()

    async def close(self) -> None:
        await self._follower.leave()
        await super().close()
