"""The soak's clients over the channel: many chats on a socket, cancels, losses, returns, takeovers, wrong messages.

Written on websockets alone: the clients that come with the server forgive and come back by themselves, which would hide
what is looked for.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from bench.soak.http import (
    CANCELLED,
    CHAT,
    COMPLETED,
    DETACHED,
    LONG_TOKENS,
    REFUSED,
    HttpClient,
    chat_body,
    fate_of_error,
)
from bench.soak.ledger import Ask, Fate, Ledger
from bench.soak.raw import STUCK_S

CREATE, RESUME, CANCEL = (f"chat.completion.{verb}" for verb in ("create", "resume", "cancel"))
WIRE = "websocket"
GRACE = {"resume": {"grace_s": 20}}
NAMELESS = ["{", "[]", '{"type":"chat.completion.create"}', '{"type":"none-such"}', '{"type":"chat.completion.cancel"}']
"""Messages that are refused, and bear no id."""


@dataclass
class Stream:
    """What came of one stream."""

    ask: Ask
    seq: int = 0
    id: str = ""
    token: str = ""
    error: dict[str, Any] | None = None
    done: dict[str, Any] | None = None
    is_lost: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_over(self) -> bool:
        return self.done is not None or (self.error is not None and not self.id) or self.is_taken

    @property
    def is_taken(self) -> bool:
        """Another reader has it now."""
        return self.error is not None and self.error["code"] == "taken_over"

    @property
    def fates(self) -> frozenset[Fate | None]:
        """What fits a stream that is over."""
        if self.is_taken:
            return DETACHED
        if self.done is not None:
            return frozenset({self.done["status"]})
        if self.error is None:  # The server has ended the connection under it.
            return frozenset()
        return frozenset({fate_of_error(self.error["code"])})

    def take(self, frame: dict[str, Any]) -> str | None:
        """Take in a frame; says what is wrong with it."""
        kind = frame["type"].removeprefix("chat.completion.")
        wrong = f"{kind} after the end" if self.is_over else None
        if kind == "chunk":
            if frame["seq"] != self.seq + 1:
                wrong = f"chunk {frame['seq']} after {self.seq}"
            self.seq = frame["seq"]
        elif kind in ("created", "resumed"):
            self.id, self.token = frame.get("id", "resumed"), frame.get("resume_token", "")
        elif kind == "done":
            self.done = frame
        elif kind == "error":
            self.error = frame["error"]
        self.news.set()
        return wrong

    async def until(self, chunks: int) -> None:
        """Return when so many chunks have come, or it is over."""
        while self.seq < chunks and not (self.is_over or self.is_lost):
            self.news.clear()
            await self.news.wait()

    async def end(self) -> None:
        """Return when it is over."""
        await self.until(1 << 60)


class Socket:
    """One connection, and the task that reads it."""

    def __init__(self, ws: ClientConnection, ledger: Ledger, name: str) -> None:
        self.streams: dict[str, Stream] = {}
        self._answers: dict[str, Ask] = {}
        self._ws = ws
        self._ledger = ledger
        self._name = name
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for message in self._ws:
                frame = orjson.loads(message)
                if frame["type"] == "ping":
                    await self.say({"type": "pong", "t": frame["t"]})
                elif (stream := self.streams.get(frame.get("stream_id", ""))) is not None:
                    if (wrong := stream.take(frame)) is not None:
                        self._ledger.problem(f"{stream.ask.kind}: {wrong.split()[0]} out of order", wrong)
                elif (ask := self._answers.pop(frame.get("event_id", ""), None)) is not None:
                    self._ledger.end(ask, {fate_of_error(frame["error"]["code"])}, REFUSED, frame)
        except ConnectionClosed:
            pass
        finally:
            self._answers.clear()
            for stream in self.streams.values():
                stream.is_lost = True
                stream.news.set()

    async def say(self, frame: dict[str, Any] | str) -> None:
        await self._ws.send(frame if isinstance(frame, str) else orjson.dumps(frame).decode())

    async def _open(self, kind: str, frame: dict[str, Any], old: Stream | None = None) -> Stream:
        ask = self._ledger.ask(f"{self._name}: {kind}", WIRE, None if old is None else old.ask)
        stream = self.streams[ask.id] = Stream(ask, 0 if old is None else old.seq)
        await self.say(frame | {"stream_id": ask.id, "event_id": ask.id})
        return stream

    async def create(self, kind: str, body: dict[str, Any], **more: Any) -> Stream:
        return await self._open(kind, {"type": CREATE, "body": body, **more})

    async def resume(self, kind: str, old: Stream) -> Stream:
        more = {"id": old.id, "resume_token": old.token, "starting_after": old.seq}
        return await self._open(kind, {"type": RESUME, **more}, old)

    async def cancel(self, stream: Stream) -> None:
        ask = self._ledger.ask(f"{self._name}: a cancel", WIRE)
        # Answered only where it is refused: the stream may have ended.
        self._ledger.end(ask, REFUSED | {None}, REFUSED | {None})
        await self.say({"type": CANCEL, "stream_id": stream.ask.id, "event_id": ask.id})

    async def wrong(self) -> None:
        """A message that names itself, and is refused."""
        ask = self._ledger.ask(f"{self._name}: bad input", WIRE)
        self._answers[ask.id] = ask
        await self.say({"type": CANCEL, "stream_id": "none-such", "event_id": ask.id})

    async def settled(self) -> None:
        """Return when all messages that are refused have been."""
        while self._answers:  # noqa: ASYNC110  # answers have no event of their own
            await asyncio.sleep(0.02)

    async def cut(self) -> None:
        """Be gone without a word."""
        self._ws.transport.abort()
        await self._ws.wait_closed()


@dataclass
class ChannelClient:
    """One client, which opens one socket after another."""

    ledger: Ledger
    rng: random.Random
    name: str
    port: int
    http: HttpClient

    @asynccontextmanager
    async def _socket(self) -> AsyncIterator[Socket]:
        uri = f"ws://127.0.0.1:{self.port}{CHAT}"
        async with connect(uri, compression=None, ping_interval=None, max_size=None, open_timeout=60) as ws:
            one = Socket(ws, self.ledger, self.name)
            try:
                yield one
            finally:
                one.reading.cancel()
                await asyncio.gather(one.reading, return_exceptions=True)

    def _over(self, stream: Stream, meant: frozenset[Fate | None] = COMPLETED) -> None:
        if stream.done is not None and stream.fates == COMPLETED:
            stream.ask.tokens = stream.done["usage"]["completion_tokens"]
        self.ledger.end(stream.ask, stream.fates, meant, stream.error or "")

    def _lost(self, stream: Stream, fates: frozenset[Fate | None]) -> None:
        """Its socket has been cut."""
        if stream.is_over:
            self._over(stream)
        else:
            # Unless it has begun, the server may not have heard of it, or may have refused it at that moment.
            self.ledger.leave(stream.ask, fates if stream.id else fates | CANCELLED | REFUSED | {None})

    async def many(self) -> None:
        """Many chats on one socket: most are read to their end, some cancelled; between them what is refused."""
        async with self._socket() as one:
            read = [await one.create("a chat among many", chat_body(self.rng)) for _ in range(self.rng.randint(2, 8))]
            cancelled = [
                await one.create("a chat, cancelled", chat_body(self.rng, max_tokens=LONG_TOKENS))
                for _ in range(self.rng.randint(0, 3))
            ]
            bad = await one.create("a create with a bad body", chat_body(self.rng, temperature=9))
            await one.say(self.rng.choice(NAMELESS))
            await one.wrong()
            for stream in cancelled:
                await stream.until(self.rng.randint(0, 5))
                await one.cancel(stream)
            for stream in (*read, *cancelled, bad):
                await stream.end()
            await one.settled()
            # They are refused in their order, so the nameless one has been, too.
            self.ledger.nameless += 1
        for stream in read:
            self._over(stream)
        for stream in cancelled:
            self._over(stream, CANCELLED | COMPLETED)
        self._over(bad, REFUSED)

    async def lost(self) -> None:
        """A socket that is cut under running chats; those that asked for it are read on in, on either wire."""
        async with self._socket() as one:
            gone = [
                await one.create("a chat whose socket is cut", chat_body(self.rng, max_tokens=LONG_TOKENS))
                for _ in range(self.rng.randint(1, 3))
            ]
            kept = [
                await one.create("a resumable chat, lost", chat_body(self.rng, max_tokens=400), **GRACE)
                for _ in range(self.rng.randint(1, 3))
            ]
            for stream in kept:
                await stream.until(self.rng.randint(1, 10))
            await one.cut()
        for stream in gone:
            self._lost(stream, CANCELLED)
        left = [stream for stream in kept if not stream.is_over]
        for stream in kept:
            # They are short: the last chunks may have been on their way.
            self._lost(stream, DETACHED | COMPLETED)
        # All at once: the server keeps them for seconds only.
        begun = [stream for stream in left if stream.id]
        await asyncio.gather(*(self._come_back(stream, on_http=place % 2 == 1) for place, stream in enumerate(begun)))

    async def _come_back(self, stream: Stream, *, on_http: bool) -> None:
        if on_http:
            await self.http.read_on(stream.ask, stream.id, stream.token, stream.seq)
            return
        async with self._socket() as back:
            again = await back.resume("a chat, resumed", stream)
            await again.end()
        self._over(again)

    async def stuck(self) -> None:
        """A socket that is never read: the server is to cut it, with all that runs on it."""
        uri = f"ws://127.0.0.1:{self.port}{CHAT}"
        asks = [self.ledger.ask(f"{self.name}: a chat that is not read", WIRE) for _ in range(self.rng.randint(1, 4))]
        # websockets stops reading from the socket when so many messages wait.
        async with connect(uri, compression=None, ping_interval=None, max_queue=1, open_timeout=60) as ws:
            for ask in asks:
                frame = {"type": CREATE, "stream_id": ask.id, "event_id": ask.id}
                body = chat_body(self.rng, max_tokens=LONG_TOKENS)
                await ws.send(orjson.dumps(frame | {"body": body}).decode())
            await asyncio.sleep(STUCK_S)  # What it is for.
            ws.transport.abort()
        for ask in asks:
            # What has gone into the system's buffers has been served; what was not taken in never was.
            fates = CANCELLED | COMPLETED | REFUSED | {None}
            self.ledger.end(ask, fates, fates)

    async def taken_over(self) -> None:
        """A reader whose generation another one takes over."""
        async with self._socket() as one, self._socket() as other:
            first = await one.create("a chat that is taken over", chat_body(self.rng, max_tokens=400), **GRACE)
            await first.until(3)
            if first.is_over:
                self._over(first)
                return
            second = await other.resume("a takeover", first)
            await first.end()
            await second.end()
        self._over(first, DETACHED | COMPLETED)
        self._over(second)
