"""A running `AsyncLLM` that several API servers share: as its owner has it, and as the others do.

Does not know how they speak with each other: `engine.sharing.meeting` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from engine.sharing.meeting import Addresses, Guest, Offer, Place, unless_gone
from engine.vllm.engine import Started, VllmEngine


class OwnedEngine(VllmEngine):
    """The engine of the API server that has its processes. It is ready when all of them are."""

    def __init__(self, started: Started, place: Place, addresses: Sequence[Addresses]) -> None:
        super().__init__(started)
        self._leave_s = place.leave_s
        self._offer = Offer(place, addresses, steps=lambda: self.steps_taken, kill=self.kill)

    @property
    def steps_taken(self) -> int:
        """vLLM tells of each step one API server only."""
        return self.own_steps + self._offer.steps

    async def warm_up(self) -> None:
        await super().warm_up()
        await unless_gone(self._offer.wait_joined(), self.wait_dead())

    async def close(self) -> None:
        # The others were told to stop when this one was, and may have streams that still finish.
        try:
            await self._offer.close(wait_s=0.0 if self.has_died else self._leave_s)
        finally:
            await super().close()


class GuestEngine(VllmEngine):
    """The engine of an API server that has joined another's."""

    def __init__(self, started: Started, guest: Guest) -> None:
        super().__init__(started)
        self._guest = guest

    @property
    def steps_taken(self) -> int:
        return self.own_steps + self._guest.steps

    async def warm_up(self) -> None:
        await self._guest.while_there(super().warm_up())
        self._guest.ready(lambda: self.own_steps)

    def kill(self) -> None:
        self._guest.kill()

    async def wait_dead(self) -> str:
        dead, gone = asyncio.ensure_future(super().wait_dead()), asyncio.ensure_future(self._guest.wait_gone())
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
        await self._guest.leave()
        await super().close()
