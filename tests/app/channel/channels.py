"""The channel on a fake engine: what a test says goes in, what the client would have received is a list.

There are no sockets. The backend, the replay store and the manager are the server's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson

from app.channel.local_backend import ChannelBackend
from app.channel.session import Channel
from app.config.channel import ChannelLimits, ResumeLimits
from app.config.load import load_settings
from app.generation.replay.store import ReplayStore
from app.generation.table import CHAT
from app.security.caller import Caller
from app.server.wiring import make_services
from engine.admission.admission import AdmissionLimits
from engine.manager import EngineManager
from protocol.channel.codec import ChannelCodec, FrameCodec
from protocol.output import Delta
from tests.engine.fakes import FakeEngine, FakeFactory, FakeStream

LIMIT_S = 5.0
BODY: dict[str, Any] = {"model": "guide", "messages": [{"role": "user", "content": "hi"}]}
HANDSHAKE = {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
"""What Quart's test client leaves out of its opening handshake."""
CREATE, CANCEL, RESUME = (f"chat.completion.{verb}" for verb in ("create", "cancel", "resume"))
CREATED, RESUMED, CHUNK, DONE = (f"chat.completion.{verb}" for verb in ("created", "resumed", "chunk", "done"))
CODEC = ChannelCodec()


async def until(condition: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    """Let the loop turn until `condition` holds."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event of its own
            await asyncio.sleep(0)


async def turn(times: int = 20) -> None:
    """Let everything run that can run now."""
    for _ in range(times):
        await asyncio.sleep(0)


class Clock:
    """Goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Peer:
    """A channel and its client's end: `frames` is what the client has received, whole."""

    def __init__(self, channel: Callable[[Peer], Channel]) -> None:
        self.frames: list[dict[str, Any]] = []
        self.raw: list[bytes] = []
        self.takes = asyncio.Event()
        self.takes.set()
        self.failure: Exception | None = None
        self.channel = channel(self)

    async def take(self, frame: bytes) -> None:
        """What the channel calls to send."""
        if self.failure is not None:
            raise self.failure
        # It has left the server; whether the client has read it is another matter.
        self.raw.append(frame)
        self.frames.append(orjson.loads(bytes(frame)))
        await self.takes.wait()

    async def say(self, message: dict[str, Any] | str | bytes | None) -> None:
        text = orjson.dumps(message).decode() if isinstance(message, dict) else message
        await self.channel.receive(text)

    async def create(self, stream_id: str = "a", event_id: str | None = None, **more: Any) -> None:
        event = {} if event_id is None else {"event_id": event_id}
        body = BODY | more.pop("body", {})
        await self.say({"type": CREATE, "stream_id": stream_id, **event, "body": body, **more})

    async def cancel(self, stream_id: str = "a", event_id: str = "c") -> None:
        await self.say({"type": CANCEL, "stream_id": stream_id, "event_id": event_id})

    def of(self, kind: str, stream_id: str | None = None) -> list[dict[str, Any]]:
        """The frames of a type so far, of one stream or of all."""
        return [
            frame
            for frame in self.frames
            if frame["type"] == kind and (stream_id is None or frame.get("stream_id") == stream_id)
        ]

    async def wait_for(self, kind: str, stream_id: str | None = None, count: int = 1) -> dict[str, Any]:
        """The frame of that type that comes as number `count`."""
        await until(lambda: len(self.of(kind, stream_id)) >= count)
        return self.of(kind, stream_id)[count - 1]

    def text(self, stream_id: str | None = None) -> str:
        deltas = [choice["delta"] for frame in self.of(CHUNK, stream_id) for choice in frame["data"]["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas)


class Harness:
    """Manager, replay store and channels around one fake engine; the test drives its streams, all in `streams`."""

    def __init__(
        self,
        *,
        steps: Sequence[list[Delta]] = (),
        ends: bool = False,
        admission: AdmissionLimits | None = None,
        resume: ResumeLimits | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        self.factory = FakeFactory(steps, ends=ends)
        self.manager = EngineManager(self.factory, admission or AdmissionLimits(64, 64))
        self.services = make_services(load_settings(flags, {}), self.manager)
        self.replays: ReplayStore = self.services.replays
        if resume is not None:
            self.replays.limits = resume
        self.peers: list[Peer] = []

    @property
    def engine(self) -> FakeEngine:
        return self.factory.engines[-1]

    @property
    def streams(self) -> list[FakeStream]:
        return self.engine.opened

    def peer(
        self,
        limits: ChannelLimits | None = None,
        *,
        owner: str | None = None,
        clock: Callable[[], float] | None = None,
        parse_aside: Callable[..., Awaitable[Any]] | None = None,
        codec: FrameCodec = CODEC,
    ) -> Peer:
        """A client that has just connected."""
        backend = ChannelBackend(self.services, CHAT, Caller.of(owner, None), "connection")
        given = {"clock": clock, "parse_aside": parse_aside}
        more: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        peer = Peer(lambda peer: Channel("connection", backend, codec, peer.take, limits or ChannelLimits(), **more))
        self.peers.append(peer)
        peer.channel.start()
        return peer

    async def close(self) -> None:
        """What happens when all sockets are gone and all replay buffers have expired."""
        for peer in self.peers:
            await peer.channel.close()
        await self.replays.close()


async def begin_stream(harness: Harness, peer: Peer, stream_id: str = "a", **more: Any) -> None:
    """Create a stream that has said «x» and goes on."""
    count = len(harness.streams)
    await peer.create(stream_id, **more)
    await until(lambda: len(harness.streams) > count)
    harness.streams[-1].feed(Delta(0, "x", 1))
    await until(lambda: peer.text(stream_id) == "x")


@asynccontextmanager
async def open_harness(**options: Any) -> AsyncIterator[Harness]:
    """A harness that fails the test if a task, generation, replay buffer or place outlives its sockets."""
    before = asyncio.all_tasks()
    harness = Harness(**options)
    harness.manager.start()
    await harness.manager.wait_settled()
    own = asyncio.all_tasks() - before
    yield harness
    await harness.close()
    left = asyncio.all_tasks() - before - own - {asyncio.current_task()}
    assert not left, f"tasks were left behind: {left}"
    assert not harness.manager.active, "generations were left behind"
    assert harness.manager.sequences == 0, "places were left behind"
    assert (len(harness.replays), harness.replays.bytes) == (0, 0), "replay buffers were left behind"
    open_streams = [stream for stream in harness.streams if not (stream.closed or stream.cancelled)]
    assert not open_streams, "the engine still works for somebody"
    await harness.manager.stop()
