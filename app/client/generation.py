"""The client's side of one generation: its chunks until they are read, its end, and the errors that can be its end.

Does not know the socket or the server; `app.client` fills it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, Self

Json = dict[str, Any]
Status = Literal["completed", "cancelled", "failed"]


class ChannelError(Exception):
    """The server refused something, or a generation failed there: the error that HTTP would show for it."""

    def __init__(self, status: int, error: Mapping[str, Any], retry_after_s: float | None = None) -> None:
        self.status = status
        self.message = str(error.get("message") or f"HTTP {status}")
        self.param: str | None = error.get("param")
        self.code: str | None = error.get("code")
        self.retry_after_s = retry_after_s
        super().__init__(f"{status} {self.code}: {self.message}")


class ConnectionLost(ConnectionError):
    """There is no connection, and what was asked for cannot be had. `close_code` is the server's, if it gave one."""

    def __init__(self, message: str, close_code: int | None = None) -> None:
        super().__init__(message)
        self.close_code = close_code


class Generation:
    """One answer: iterate over its chunks. `status` and `usage` are there once it has ended.

    `id` and `resume_token` are what the HTTP twin wants for reading on; `seq` is the number of the last chunk that
    came. Left as a context, it is cancelled unless it has ended.
    """

    def __init__(
        self, stream_id: str, send_cancel: Callable[[str], Awaitable[None]], *, is_resumable: bool, max_chars: int
    ) -> None:
        self.stream_id = stream_id
        self.id = ""
        self.resume_token: str | None = None
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
        """The next chunk. After them, raises `ChannelError` or `ConnectionLost` where the generation failed."""
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
        """Read to the end: the text of the first choice, from where the iteration stands. Raises as that does."""
        choices = [choice async for chunk in self for choice in chunk["choices"]]
        return "".join(choice["delta"].get("content") or "" for choice in choices if choice["index"] == 0)

    async def cancel(self) -> None:
        """End it in the engine. What was made until now still comes, then the end; harmless where it has ended."""
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
        """A lost connection need not be its end."""
        return self._is_resumable and self.resume_token is not None

    async def wait_started(self) -> None:
        """Return once the server has admitted it. Raises the error where it did not."""
        while not self.id and self.status is None:
            self._news.clear()
            await self._news.wait()
        if not self.id and self._error is not None:
            raise self._error

    def start(self, answer_id: str, resume_token: str | None) -> None:
        """The server has admitted it."""
        self.id, self.resume_token, self.is_answered = answer_id, resume_token, True
        self._news.set()

    def add(self, seq: int, chunk: Json, chars: int) -> None:
        """Take in chunk `seq`; one that was there before is no news."""
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
        """Wait until the reader has made room; False where `closed`, the connection's end, comes first."""
        end = asyncio.ensure_future(closed)
        try:
            # After a cancel comes only what had been made already, which is not worth holding up the others for.
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
        """Its reader is behind by as much as may wait."""
        return self._chars > self._max_chars

    def note(self, error: Exception) -> None:
        """It has failed; the end is still to come."""
        self._error = error

    def end(self, status: Status, usage: Json | None = None) -> None:
        """Nothing more will come."""
        self.status, self.usage = status, usage
        self._news.set()
