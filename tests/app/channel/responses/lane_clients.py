"""Clients of OpenAI's WebSocket protocol, on a fake engine and without sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from app.channel.responses.backend import ResponsesBackend
from app.channel.responses.lanes import LaneChannel, limits_of_lanes
from app.config.channel import ChannelLimits
from app.generation.table import RESPONSES
from app.security.caller import Caller
from protocol.channel.responses_codec import ResponsesCodec
from protocol.output import Delta
from tests.app.channel.channels import Clock, Harness, Peer, open_harness, turn
from tests.app.channel.channels import until as within
from tests.engine.fakes import FakeStream

LIMIT_S = 30.0
LAST = ("response.completed", "response.incomplete", "response.failed", "error")


async def until(condition: Callable[[], object]) -> None:
    """As for the channel: enough for a busy machine."""
    await within(condition, LIMIT_S)


class Client(Peer):
    """The client's end of a connection with lanes."""

    backend: ResponsesBackend

    async def ask(self, text: str = "hi", lane: str | None = None, **more: Any) -> None:
        """Send a create."""
        named = {} if lane is None else {"stream_id": lane}
        await self.say({"type": "response.create", "model": "guide", "input": text, "store": False, **named, **more})

    def kinds(self, lane: str | None = None) -> list[str]:
        """The types of a lane's frames so far."""
        return [frame["type"] for frame in self.frames if frame.get("stream_id") == lane]

    async def last(self, lane: str | None = None, count: int = 1) -> dict[str, Any]:
        """The frame that ends the lane's response number `count`."""

        def ends() -> list[dict[str, Any]]:
            return [frame for frame in self.frames if frame.get("stream_id") == lane and frame["type"] in LAST]

        await until(lambda: len(ends()) >= count)
        return ends()[count - 1]


@asynccontextmanager
async def connected(
    limits: ChannelLimits | None = None, *, clock: Clock | None = None, **options: Any
) -> AsyncIterator[tuple[Harness, Client]]:
    """A harness, and a client that has connected to it."""
    async with open_harness(**options) as harness:
        client = connect(harness, limits, clock=clock)
        yield harness, client
        await client.channel.close()
        client.backend.close()
        assert len(harness.services.socket_responses) == 0


def connect(
    harness: Harness, limits: ChannelLimits | None = None, *, owner: str | None = None, clock: Clock | None = None
) -> Client:
    name = f"connection-{len(harness.peers)}"
    backend = ResponsesBackend(harness.services, RESPONSES, Caller.of(owner, None), name)
    more: dict[str, Any] = {} if clock is None else {"clock": clock}
    limits = limits_of_lanes(limits or ChannelLimits())
    client = Client(lambda peer: LaneChannel(name, backend, ResponsesCodec(), peer.take, limits, **more))
    client.backend = backend
    harness.peers.append(client)
    client.channel.start()
    return client


async def running(harness: Harness, count: int) -> FakeStream:
    """The engine's stream number `count`, once it runs."""
    await until(lambda: len(harness.streams) >= count)
    await turn()
    assert len(harness.streams) == count
    return harness.streams[count - 1]


def finish(stream: FakeStream, text: str = "x") -> None:
    stream.feed(Delta(0, text, 1, "stop"))
    stream.end()


def text_of(frame: dict[str, Any]) -> str:
    return "".join(part["text"] for item in frame["response"]["output"] for part in item["content"])
