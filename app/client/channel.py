"""A client of the channel: many generations on one socket, cancel, and resume after a lost connection.

It follows `docs/websocket.md` and needs only the package `websockets` (the extra `client`), nothing of the server.

    async with Channel.connect("http://127.0.0.1:8000") as channel:
        generation = await channel.create(model="guide", messages=[{"role": "user", "content": "Hello"}])
        async for chunk in generation:
            print(*(choice["delta"].get("content", "") for choice in chunk["choices"]), sep="", end="")

Chunks wait in their generation until they are read, up to a limit. Beyond it, the socket is not read, for any of its
generations. So read concurrently what you start, or leave it (`async with generation:`), which cancels it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Self

from app.client.connection import (
    MAX_MESSAGE_BYTES,
    ClientConnection,
    ConnectionClosed,
    channel_uri,
    connected_socket,
    ping_regularly,
    send,
)
from app.client.generation import ChannelError, ConnectionLost, Generation
from app.client.message import Json
from app.client.stats import EVENT_ID, Stats

FINAL_CLOSE_CODES = frozenset({1002, 1007, 1008, 4401, 4409})
"""Not worth a reconnect: a broken protocol, abuse, a revoked credential, another reader."""
PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
"""A handshake refused with one of these may be retried."""
FIRST_DELAY_S, LONGEST_DELAY_S = 0.1, 5.0


class Channel:
    """A connection to a server, restored when it is lost. Use it as a context manager: `Channel.connect(url)`."""

    def __init__(
        self, url: str, api_key: str | None, reconnect_attempts: int, open_timeout_s: float, max_buffered_chars: int
    ) -> None:
        self._uri = channel_uri(url)
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._reconnect_attempts = reconnect_attempts
        self._open_timeout_s = open_timeout_s
        self._max_buffered_chars = max_buffered_chars
        self._names = map(str, itertools.count(1))
        self._generations: dict[str, Generation] = {}
        self._prefills: dict[str, asyncio.Future[Json]] = {}
        self._limits: Json = {}
        self._stats = Stats()
        self._socket: ClientConnection | None = None
        self._opening = asyncio.Lock()
        self._failures = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        api_key: str | None = None,
        reconnect_attempts: int = 10,
        open_timeout_s: float = 20.0,
        max_buffered_chars: int = 1 << 20,
    ) -> Self:
        """A channel to the server at `url`, with or without OpenAI's `/v1`. It connects when the context is entered.

        `reconnect_attempts`: how often to try to restore a lost connection, over about half a minute, while there are
        generations to resume. `max_buffered_chars`: how much JSON may wait to be read, per generation. Entering raises
        `ChannelError` if the server refuses, `ConnectionLost` if it cannot be reached.
        """
        return cls(url, api_key, reconnect_attempts, open_timeout_s, max_buffered_chars)

    async def __aenter__(self) -> Self:
        await self._connected()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the connection. Running generations are cancelled; resumable ones run on for their grace period."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        closed = ConnectionLost("the channel was closed")
        self._fail(list(self._generations.values()), closed)
        self._stats.fail(closed)
        self._fail_prefills(closed)
        if self._socket is not None:
            await self._socket.close()

    async def create(
        self,
        *,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        resume_grace_s: float | None = None,
        **body: Any,
    ) -> Generation:
        """Start a generation; `body` is the rest of what `POST /v1/chat/completions` takes.

        With `resume_grace_s` it outlives a lost connection by so many seconds, and is resumed without a gap. Returns
        once the server has admitted it. Raises `ChannelError` if the server refuses, `ConnectionLost` if it is gone.
        """
        socket = await self._connected()
        stream_id = next(self._names)
        frame: Json = {"type": "chat.completion.create", "stream_id": stream_id, "event_id": stream_id}
        frame["body"] = {"model": model, "messages": list(messages), **body}
        if resume_grace_s is not None:
            frame["resume"] = {"grace_s": resume_grace_s}
        text = self._encoded(frame)
        generation = self._generations[stream_id] = Generation(
            stream_id, self._cancel, is_resumable=resume_grace_s is not None, max_chars=self._max_buffered_chars
        )
        try:
            await send(socket, text)
            await generation.wait_started()
        except asyncio.CancelledError:
            await generation.__aexit__()
            raise
        return generation

    async def prefill(self, *, model: str, messages: Sequence[Mapping[str, Any]], **body: Any) -> Json:
        """Have the server read a prompt that may come, so that the answer to it begins sooner.

        `messages` are the dialogue so far, with a last message of the user that need not be complete. Returns what
        `chat.completion.prefilled` says: `status` and `usage`. Another prefill, and each `create`, cancels it. Raises
        `ChannelError` if the server refuses, `ConnectionLost` if it is gone; neither matters to a later `create`.
        """
        socket = await self._connected()
        event_id = f"prefill-{next(self._names)}"
        frame: Json = {"type": "chat.completion.prefill", "event_id": event_id}
        frame["body"] = {"model": model, "messages": list(messages), **body}
        text = self._encoded(frame)
        answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._prefills[event_id] = answer
        try:
            await send(socket, text)
            return await answer
        finally:
            del self._prefills[event_id]

    async def follow(self, answer_id: str, follow_token: str, *, starting_after: int = 0) -> Generation:
        """Follow somebody else's generation, given its `id` and `follow_token`.

        `starting_after` is the number of the last known chunk. Cancelling stops following, and leaves the generation
        alone. After a lost connection it is followed again. Raises the same as `create`.
        """
        socket = await self._connected()
        stream_id = next(self._names)
        generation = self._generations[stream_id] = Generation(
            stream_id, self._cancel, is_resumable=True, max_chars=self._max_buffered_chars
        )
        generation.follow(answer_id, follow_token, starting_after)
        try:
            await send(socket, json.dumps(_come_back(generation)))
            await generation.wait_started()
        except asyncio.CancelledError:
            await generation.__aexit__()
            raise
        return generation

    async def stats(self, interval_s: float = 1.0) -> AsyncGenerator[Json]:
        """The server's load, every `interval_s` seconds: what `server.stats` of `docs/websocket.md` holds.

        A reader that is slow skips reports. Close it (`contextlib.aclosing`) to end the subscription; one may read at a
        time. Raises `ChannelError` if the server does not show its load, `ConnectionLost` if it is gone.
        """
        socket = await self._connected()
        frame = self._stats.subscribe(interval_s)
        try:
            await send(socket, frame)
            while True:
                yield await self._stats.next()
        finally:
            end = self._stats.unsubscribe()
            if self._socket is not None:
                await send(self._socket, end)

    def _encoded(self, frame: Json) -> str:
        """The frame as text. Raises `ChannelError` if the server would close the connection for its size."""
        text = json.dumps(frame)
        limit = self._limits.get("max_message_bytes", MAX_MESSAGE_BYTES)
        if len(text) > limit:
            error = {"message": f"The request is larger than the server's {limit} bytes.", "code": "request_too_large"}
            raise ChannelError(413, error)
        return text

    async def _cancel(self, stream_id: str) -> None:
        if self._socket is not None:
            await send(self._socket, json.dumps({"type": "chat.completion.cancel", "stream_id": stream_id}))

    # -- the connection ------------------------------------------------------------------------------------------------

    async def _connected(self) -> ClientConnection:
        async with self._opening:
            if self._is_closed:
                raise ConnectionLost("the channel was closed")
            socket = self._socket
            if socket is None:
                socket = await self._open()
                if socket is not self._socket:
                    raise ConnectionLost("the connection was lost as soon as it was opened")
            return socket

    async def _open(self) -> ClientConnection:
        """Connect, and resume what was interrupted. The caller holds the lock."""
        socket, self._limits = await connected_socket(self._uri, self._headers, self._open_timeout_s)
        self._socket = socket
        task = asyncio.create_task(self._read(socket))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._stats.frame is not None:
            await send(socket, self._stats.frame)
        for stream_id, generation in list(self._generations.items()):
            generation.is_answered = False
            await send(socket, json.dumps(_come_back(generation)))
            if generation.is_cancelled:
                await self._cancel(stream_id)
        return socket

    async def _read(self, socket: ClientConnection) -> None:
        """Hand out messages; when the connection is lost, resume what can be resumed."""
        beat = asyncio.create_task(ping_regularly(socket, self._limits.get("ping_interval_s", 25.0)))
        silence_s = self._limits.get("idle_timeout_s", 60.0)
        try:
            while True:
                async with asyncio.timeout(silence_s):
                    message = await socket.recv(decode=True)
                await self._hand_out(socket, message)
        except TimeoutError:
            lost = ConnectionLost("the server has been silent for too long")
        except ConnectionClosed as closed:
            lost = ConnectionLost(f"the connection was lost: {closed}", closed.rcvd.code if closed.rcvd else None)
        except (ValueError, KeyError, TypeError) as error:
            lost = ConnectionLost(f"the server broke the protocol: {error!r}")
        finally:
            beat.cancel()
        socket.transport.abort()
        self._socket = None
        await self._recover(lost)

    async def _hand_out(self, socket: ClientConnection, message: str) -> None:
        frame = json.loads(message)
        kind, generation = frame["type"], self._generations.get(frame.get("stream_id"))
        if kind == "ping":
            await send(socket, json.dumps({"type": "pong", "t": frame.get("t")}))
        elif kind == "server.stats":
            self._stats.take({name: value for name, value in frame.items() if name != "type"})
        elif kind == "error" and frame.get("event_id") == EVENT_ID:
            self._stats.fail(ChannelError(frame["status"], frame["error"], frame.get("retry_after_s")))
        elif (prefill := self._prefills.get(frame.get("event_id"))) is not None and not prefill.done():
            if kind == "error":
                prefill.set_exception(ChannelError(frame["status"], frame["error"], frame.get("retry_after_s")))
            else:
                prefill.set_result({"status": frame["status"], "usage": frame["usage"]})
        elif generation is None:
            pass  # Of a stream that has ended here, or of the connection, which is about to close.
        elif kind == "chat.completion.chunk":
            self._failures = 0
            generation.add(frame["seq"], frame["data"], len(message))
            if generation.is_full and not await generation.has_room(socket.wait_closed()):
                self._fail(
                    [generation], ConnectionLost("the server closed the connection because nobody read the chunks")
                )
        elif kind == "chat.completion.done":
            del self._generations[generation.stream_id]
            generation.end(frame["status"], frame["usage"])
        elif kind == "chat.completion.created":
            generation.start(frame["id"], frame.get("resume_token"), frame.get("follow_token"))
        elif kind == "chat.completion.resumed":
            generation.resumed()
        elif kind == "error" and frame.get("event_id") == generation.stream_id:
            # Any other error answers a late cancel.
            error = ChannelError(frame["status"], frame["error"], frame.get("retry_after_s"))
            if generation.is_answered and error.code != "taken_over":
                generation.note(error)
            else:
                self._fail([generation], error)

    # -- after a loss --------------------------------------------------------------------------------------------------

    async def _recover(self, lost: ConnectionLost) -> None:
        """Reconnect for the generations that can be resumed; fail the others."""
        self._fail_prefills(lost)
        is_final = lost.close_code in FINAL_CLOSE_CODES
        self._fail([one for one in self._generations.values() if is_final or not one.can_resume], lost)
        error: Exception = lost
        async with self._opening:
            while self._generations and self._socket is None and self._failures < self._reconnect_attempts:
                delay_s = min(FIRST_DELAY_S * 2**self._failures, LONGEST_DELAY_S) * random.uniform(0.5, 1)
                if isinstance(error, ChannelError):
                    delay_s = max(delay_s, min(error.retry_after_s or 0, LONGEST_DELAY_S))
                self._failures += 1
                await asyncio.sleep(delay_s)
                try:
                    await self._open()
                except ConnectionLost as failure:
                    error = failure
                except ChannelError as refused:
                    error = refused
                    if refused.status not in PASSING_STATUSES:
                        break
            if self._socket is None:
                self._fail(list(self._generations.values()), error)
                self._stats.fail(error)

    def _fail_prefills(self, error: Exception) -> None:
        for prefill in self._prefills.values():
            if not prefill.done():
                prefill.set_exception(error)

    def _fail(self, generations: Sequence[Generation], error: Exception) -> None:
        for generation in generations:
            self._generations.pop(generation.stream_id, None)
            generation.note(error)
            generation.end("failed")


def _come_back(generation: Generation) -> Json:
    """The frame that resumes or follows it after its last chunk."""
    verb = "follow" if generation.is_follower else "resume"
    token = generation.follow_token if generation.is_follower else generation.resume_token
    frame: Json = {"type": f"chat.completion.{verb}", "stream_id": generation.stream_id}
    frame |= {"event_id": generation.stream_id, "id": generation.id, f"{verb}_token": token}
    return frame | {"starting_after": generation.seq}
