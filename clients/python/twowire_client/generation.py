"""The client's side of one generation: its unread chunks, its end, and the errors that can end it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, Self

from twowire_client.message import Json, MessageBuilder

Status = Literal["completed", "cancelled", "failed"]


class ChannelError(Exception):
    """The server refused a request, or a generation failed there; the error is the one that HTTP would give."""

    def __init__(self, status: int, error: Mapping[str, Any], retry_after_s: float | None = None) -> None:
        self.status = status
        self.message = str(error.get("message") or f"HTTP {status}")
        self.param: str | None = error.get("param")
        self.code: str | None = error.get("code")
        self.retry_after_s = retry_after_s
        super().__init__(f"{status} {self.code}: {self.message}")


class ConnectionLost(ConnectionError):
    """The connection is gone, and the generation with it. `close_code` is the server's, if it sent one."""

    def __init__(self, message: str, close_code: int | None = None) -> None:
        super().__init__(message)
        self.close_code = close_code


class Generation:
    """One response: iterate over its chunks. `status` and `usage` are set once it has ended.

    `id` and `resume_token` also resume it over HTTP; with `id` and `follow_token`, others can follow it. `seq` is the
    number of the last chunk received. As a context manager, it is cancelled on exit unless it has ended.
    """

    def __init__(
        self, stream_id: str, send_cancel: Callable[[str], Awaitable[None]], *, is_resumable: bool, max_chars: int
    ) -> None:
        self.stream_id = stream_id
        self.id = ""
        self.resume_token: str | None = None
        self.follow_token: str | None = None
        self.is_follower = False
        self.seq = 0
        self.status: Status | None = None
        self.usage: Json | None = None
        self.is_cancelled = False
        self.is_answered = False
        self._is_resumable = is_resumable
        self._send_cancel = send_cancel
        self._max_chars = max_chars
        self._chunks: deque[tuple[Json, int]] = deque()
        self._chars = 0
        self._error: Exception | None = None
        self._is_abandoned = False
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Json:
        """The next chunk. After the last, raises `ChannelError` or `ConnectionLost` if the generation failed."""
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self.status is not None:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        chunk, chars = self._chunks.popleft()
        self._chars -= chars
        self._room.set()
        return chunk

    async def text(self) -> str:
        """Read to the end; the rest of the first choice's text. Raises as iterating does."""
        choices = [choice async for chunk in self for choice in chunk["choices"]]
        return "".join(choice["delta"].get("content") or "" for choice in choices if choice["index"] == 0)

    async def message(self) -> Json:
        """Read to the end; the first choice's message: content, reasoning and tool calls. Raises as iterating does."""
        builder = MessageBuilder()
        async for chunk in self:
            builder.add(chunk)
        return builder.message

    async def cancel(self) -> None:
        """End it in the engine. What was made until now still comes, then the end. Harmless if it has ended."""
        if self.status is None and not self.is_cancelled:
            self.is_cancelled = True
            self._room.set()
            await self._send_cancel(self.stream_id)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._is_abandoned = True
        self._chunks.clear()
        self._chars = 0
        await self.cancel()

    # -- for the channel -----------------------------------------------------------------------------------------------

    @property
    def can_resume(self) -> bool:
        """It can be resumed after a lost connection."""
        return self._is_resumable and (self.resume_token is not None or self.is_follower)

    async def wait_started(self) -> None:
        """Return once the server has admitted it; raise the error if it did not."""
        while not self.is_answered and self.status is None:
            self._news.clear()
            await self._news.wait()
        if not self.is_answered and self._error is not None:
            raise self._error

    def start(self, answer_id: str, resume_token: str | None, follow_token: str | None = None) -> None:
        """Record that the server has admitted it."""
        self.id, self.resume_token, self.follow_token = answer_id, resume_token, follow_token
        self.resumed()

    def follow(self, answer_id: str, follow_token: str, starting_after: int) -> None:
        """Make this a follower of somebody else's generation."""
        self.id, self.follow_token, self.seq = answer_id, follow_token, starting_after
        self.is_follower = True

    def resumed(self) -> None:
        """Record that the server has admitted it, or has admitted it again."""
        self.is_answered = True
        self._news.set()

    def add(self, seq: int, chunk: Json, chars: int) -> None:
        """Add chunk `seq`; one already received is ignored."""
        if seq <= self.seq:
            return
        if seq > self.seq + 1:
            raise ValueError(f"chunk {seq} came after chunk {self.seq}")
        self.seq = seq
        if not self._is_abandoned:
            self._chunks.append((chunk, chars))
            self._chars += chars
            self._news.set()

    async def has_room(self, closed: Awaitable[None]) -> bool:
        """Wait until the reader has made room. False: `closed`, the connection's end, came first."""
        end = asyncio.ensure_future(closed)
        try:
            # After a cancel, little more comes: do not block the other generations for it.
            while self.is_full and not self.is_cancelled:
                self._room.clear()
                room = asyncio.ensure_future(self._room.wait())
                try:
                    await asyncio.wait({room, end}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    room.cancel()
                if not self._room.is_set():
                    return False
            return True
        finally:
            end.cancel()

    @property
    def is_full(self) -> bool:
        """As much waits to be read as may."""
        return self._chars > self._max_chars

    def note(self, error: Exception) -> None:
        """Record that it has failed; the end is still to come."""
        self._error = error

    def end(self, status: Status, usage: Json | None = None) -> None:
        """Record the end: nothing more will come."""
        self.status, self.usage = status, usage
        self._news.set()
