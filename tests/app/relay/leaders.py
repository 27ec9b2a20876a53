"""An API server 0 that answers over a Unix socket, can be killed, and is replaced."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from app.config.channel import ResumeLimits
from app.generation.replay.elsewhere import Whereabouts
from app.generation.replay.store import ReplayStore
from app.relay.held import Held, line_bytes
from app.relay.leader import LeaderStore
from app.relay.listener import RelayListener
from app.stores.memory import MemoryStore
from app.stores.responses.base import ResponsesOptions, ResponseStore
from app.stores.responses.memory import MemoryResponses
from engine.sharing.meeting import Meeting

OPTIONS = ResponsesOptions()


class Leader:
    """Each life of API server 0 holds stores of its own."""

    def __init__(self, meeting: Meeting) -> None:
        self._meeting = meeting

    def start(self, responses: ResponseStore | None = None) -> None:
        held = Held(MemoryStore(), MemoryResponses(OPTIONS) if responses is None else responses, OPTIONS)
        self.listener = RelayListener(ReplayStore(ResumeLimits()), Whereabouts.new_server(), held)
        self._serving = asyncio.create_task(self.listener.serve_unix(self._meeting))

    async def kill(self) -> None:
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)
        await self.listener.close()

    def store(self) -> LeaderStore:
        """It, as another API server sees it."""
        return LeaderStore(self._meeting.path, line_bytes(OPTIONS))


@asynccontextmanager
async def leader_in(folder: Path) -> AsyncIterator[Leader]:
    """One that has not started."""
    with Meeting.at(folder / "relay") as meeting:
        leader = Leader(meeting)
        try:
            yield leader
        finally:
            with contextlib.suppress(AttributeError):  # It was never started.
                await leader.kill()
