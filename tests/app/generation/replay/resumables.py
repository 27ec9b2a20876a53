"""A resumable generation on a fake engine: the test makes its chunks, loses its connection, and comes back."""

from __future__ import annotations

from typing import Any

from app.config.channel import ResumeLimits
from app.generation.replay.buffer import ReplayBuffer
from app.generation.replay.reader import ReplayReader
from protocol.output import Delta
from tests.app.channel.channels import CREATED, RESUME, Harness, Peer, until

SMALL = ResumeLimits(log_max_bytes=4096, logs_max_bytes=32768)


class Resumable:
    """A resumable generation, begun on a connection of its own."""

    def __init__(self, harness: Harness, peer: Peer, created: dict[str, Any]) -> None:
        self.harness = harness
        self.peer = peer
        self.id: str = created["id"]
        self.token: str = created["resume_token"]
        self.stream = harness.streams[-1]

    @property
    def buffer(self) -> ReplayBuffer:
        return self.harness.replays._buffers[self.id]

    async def make(self, *texts: str) -> None:
        """Have the engine make `texts`, a chunk each, and wait until they are in the buffer."""
        last = self.buffer.last_seq + len(texts)
        for text in texts:
            self.stream.feed(Delta(0, text, 1))
        await until(lambda: self.buffer.last_seq == last)

    async def lose(self) -> None:
        """Its connection is gone."""
        await self.peer.channel.close()

    async def come_back(self, after: int, peer: Peer | None = None, stream_id: str = "back", **fields: Any) -> Peer:
        peer = peer or self.harness.peer()
        fields = {"id": self.id, "resume_token": self.token, "starting_after": after} | fields
        await peer.say({"type": RESUME, "stream_id": stream_id, "event_id": "r", **fields})
        return peer

    async def read(self, after: int) -> ReplayReader:
        return await self.harness.replays.resume(self.id, None, self.token, after)


async def begin(harness: Harness, owner: str | None = None, grace_s: float = 60.0) -> Resumable:
    peer = harness.peer(owner=owner)
    count = len(harness.streams)
    await peer.create("a", resume={"grace_s": grace_s})
    created = await peer.wait_for(CREATED)
    await until(lambda: len(harness.streams) == count + 1)
    resumable = Resumable(harness, peer, created)
    await until(lambda: resumable.buffer.last_seq == 1)
    return resumable
