"""A client of the channel for tests: it keeps every frame as it came, and checks each stream's numbers on the way.

Does not reconnect or forgive anything, as the real clients do.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
from websockets.asyncio.client import ClientConnection, connect

from tests.live.servers.server import MODEL, Server

PATH = "/v1/chat/completions"
STREAM = "chat.completion."


def body(**more: Any) -> dict[str, Any]:
    """A chat that runs to its last token."""
    chat = [{"role": "user", "content": "Tell me a long story about two wires."}]
    return {"model": MODEL, "messages": chat, "temperature": 0, "max_tokens": 60, "ignore_eos": True} | more


def text_of(data: list[bytes]) -> str:
    """The text of the chunks in `data`."""
    deltas = [choice["delta"] for raw in data for choice in orjson.loads(raw)["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


class Stream:
    """What came of one stream. `data` holds its chunks' own bytes."""

    def __init__(self, last_seq: int = 0) -> None:
        self.id = ""
        self.token = ""
        self.seq = last_seq
        self.data: list[bytes] = []
        self.arrivals: list[float] = []
        self.errors: list[dict[str, Any]] = []
        self.done: dict[str, Any] | None = None

    @property
    def is_over(self) -> bool:
        return self.done is not None or (bool(self.errors) and not self.id)

    @property
    def text(self) -> str:
        return text_of(self.data)

    def take(self, frame: dict[str, Any], raw: bytes) -> None:
        assert not self.is_over, f"a frame after the end: {frame}"
        kind = frame["type"].removeprefix(STREAM)
        if kind == "chunk":
            assert self.id, "a chunk before created"
            assert frame["seq"] == self.seq + 1, "not consecutive"
            self.seq += 1
            self.data.append(raw[raw.index(b',"data":') + 8 : -1])
            self.arrivals.append(asyncio.get_running_loop().time())
        elif kind in ("created", "resumed"):
            assert not self.id
            self.id = frame.get("id") or "resumed"
            self.token = frame.get("resume_token", "")
            assert frame.get("first_seq", 1) == self.seq + 1
        elif kind == "done":
            assert frame["seq"] == self.seq
            self.done = frame
        else:
            assert kind == "error"
            self.errors.append(frame)


class Channel:
    """One socket."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws
        self.limits: dict[str, Any] = {}
        self.streams: dict[str, Stream] = {}
        self.others: list[dict[str, Any]] = []
        """The frames that belong to no stream."""

    async def say(self, **frame: Any) -> None:
        await self.ws.send(orjson.dumps(frame).decode())

    async def create(
        self, name: str = "a", *, grace_s: float | None = None, timeout_s: float | None = None, **more: Any
    ) -> Stream:
        stream = self.streams[name] = Stream()
        wishes: dict[str, Any] = {} if grace_s is None else {"resume": {"grace_s": grace_s}}
        if timeout_s is not None:
            wishes["timeout_s"] = timeout_s
        await self.say(type=STREAM + "create", stream_id=name, event_id=f"create-{name}", body=body(**more), **wishes)
        return stream

    async def resume(self, name: str, id_: str, token: str, after: int) -> Stream:
        stream = self.streams[name] = Stream(after)
        fields = {"id": id_, "resume_token": token, "starting_after": after}
        await self.say(type=STREAM + "resume", stream_id=name, event_id=f"resume-{name}", **fields)
        return stream

    async def cancel(self, name: str) -> None:
        await self.say(type=STREAM + "cancel", stream_id=name, event_id=f"cancel-{name}")

    async def read(self) -> dict[str, Any]:
        """Take in the next frame."""
        message = await self.ws.recv(decode=False)
        assert isinstance(message, bytes)
        frame: dict[str, Any] = orjson.loads(message)
        if frame["type"] == "ping":
            await self.say(type="pong", t=frame["t"])
        if frame.get("stream_id") in self.streams:
            self.streams[frame["stream_id"]].take(frame, message)
        else:
            self.others.append(frame)
        return frame

    async def until(self, condition: Callable[[], object], limit_s: float = 60) -> None:
        """Read until `condition` holds."""
        async with asyncio.timeout(limit_s):
            while not condition():
                await self.read()

    async def finish(self, limit_s: float = 60) -> None:
        """Read until all streams are over."""
        await self.until(lambda: all(stream.is_over for stream in self.streams.values()), limit_s)

    async def cut(self) -> None:
        """Be gone, with a reset."""
        transport = self.ws.transport
        raw_socket: socket.socket = transport.get_extra_info("socket")
        raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
        await self.ws.wait_closed()


@asynccontextmanager
async def opened(server: Server, **options: Any) -> AsyncIterator[Channel]:
    """A channel that has said that it is ready."""
    uri = f"ws://127.0.0.1:{server.port}{PATH}"
    settings: dict[str, Any] = {"compression": None, "ping_interval": None, "max_size": None, "open_timeout": 30}
    async with connect(uri, subprotocols=["twowire.v1"], **(settings | options)) as ws:  # type: ignore[list-item]  # a NewType of str
        channel = Channel(ws)
        ready = await channel.read()
        assert ready["type"] == "connection.ready"
        channel.limits = ready["limits"]
        yield channel


class Events:
    """A stream of server-sent events, read as it comes."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.token = response.headers.get("Twowire-Resume-Token", "")
        self.ids: list[int] = []
        self.data: list[bytes] = []
        self.is_done = False
        self._lines = response.aiter_lines()

    async def read(self, chunks: int | None = None) -> None:
        """Read so many chunks, or to the end."""
        for _ in range(chunks) if chunks is not None else itertools.count():
            if not await self._next():
                return

    async def _next(self) -> bool:
        async for line in self._lines:
            if line.startswith("id: "):
                self.ids.append(int(line.removeprefix("id: ")))
            if line == "data: [DONE]":
                self.is_done = True
                return False
            if line.startswith("data: "):
                self.data.append(line.removeprefix("data: ").encode())
                return True
        return False

    @property
    def id(self) -> str:
        return str(orjson.loads(self.data[0])["id"])


@asynccontextmanager
async def posted(server: Server, *, grace_s: float | None = None, **more: Any) -> AsyncIterator[Events]:
    """A chat by POST, streamed."""
    headers = {} if grace_s is None else {"Twowire-Resume-Grace": str(grace_s)}
    async with httpx.AsyncClient(timeout=60) as client:
        asking = client.stream("POST", server.url + PATH, json=body(stream=True, **more), headers=headers)
        async with asking as response:
            assert response.status_code == 200, await response.aread()
            yield Events(response)


@asynccontextmanager
async def read_on(server: Server, id_: str, token: str, after: int) -> AsyncIterator[Events]:
    """The HTTP twin of a resume."""
    url = f"{server.url}{PATH}/{id_}/stream?starting_after={after}"
    headers = {"Twowire-Resume-Token": token}
    async with httpx.AsyncClient(timeout=60) as client, client.stream("GET", url, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        yield Events(response)


async def forget(server: Server, *ids: str) -> None:
    """Have finished resumable generations forgotten now, those that are not yet."""
    async with httpx.AsyncClient(timeout=60) as client:
        for id_ in ids:
            assert (await client.delete(f"{server.url}{PATH}/{id_}")).status_code in (200, 404)


async def come_and_go(server: Server, generations: int, tokens: int, per_socket: int = 20) -> tuple[list[str], float]:
    """Resumable generations, each of which loses its socket; returns their ids and the most that the logs held."""
    ids: list[str] = []
    peak = 0.0
    while len(ids) < generations:
        async with opened(server) as channel:
            streams = [
                await channel.create(f"s{n}", grace_s=120, max_tokens=tokens, min_tokens=tokens)
                for n in range(per_socket)
            ]
            await channel.until(lambda streams=streams: all(stream.data for stream in streams))  # type: ignore[misc]  # a default
            await channel.cut()
        ids += [stream.id for stream in streams]
        peak = max(peak, await asyncio.to_thread(server.metric, "twowire_resume_log_bytes"))
    return ids, peak


async def wait_finished(server: Server, limit_s: float) -> float:
    """Until the engine is idle; the most that the logs held meanwhile."""
    peak = 0.0

    def is_idle() -> bool:
        nonlocal peak
        peak = max(peak, server.metric("twowire_resume_log_bytes"))
        return server.in_engine() == 0

    await asyncio.to_thread(server.wait_until, is_idle, limit_s, "they have not ended")
    return peak
