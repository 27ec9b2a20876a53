"""A client of the channel: many generations on one socket, cancel, and resume after a lost connection.

It follows `docs/websocket.md` and needs only the package `websockets`, nothing of the server.

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
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Self

from twowire_client.connection import MAX_MESSAGE_BYTES, ClientConnection, send
from twowire_client.generation import ChannelError, Generation
from twowire_client.message import Json
from twowire_client.restored_connection import RestoredConnection, come_back


class Channel(RestoredConnection):
    """A connection to a server, restored when it is lost. Use it as a context manager: `Channel.connect(url)`."""

    def __init__(
        self, url: str, api_key: str | None, reconnect_attempts: int, open_timeout_s: float, max_buffered_chars: int
    ) -> None:
        super().__init__(url, api_key, reconnect_attempts, open_timeout_s)
        self._max_buffered_chars = max_buffered_chars
        self._names = map(str, itertools.count(1))

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
        return await _started(generation, socket, text)

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
        return await _started(generation, socket, json.dumps(come_back(generation)))

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


async def _started(generation: Generation, socket: ClientConnection, text: str) -> Generation:
    """Send the frame that begins it, and wait until it has begun."""
    try:
        await send(socket, text)
        await generation.wait_started()
    except asyncio.CancelledError:
        await generation.__aexit__()
        raise
    return generation
