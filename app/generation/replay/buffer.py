"""A response stream that survives its connection: a bounded buffer of its chunks, and the task that fills it.

The buffer is filled at the engine's pace. When an attached reader lags by a whole buffer, the task waits for it, and
the engine merges what it makes meanwhile. Without a reader, the oldest chunks are dropped.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

import structlog

from app.generation.replay.reader import ReplayReader
from app.generation.stream import LiveStream
from engine.generation import Generation
from protocol.encoder import Event
from protocol.errors import Fault, TwowireError
from protocol.output import Status, Usage

log = structlog.get_logger(__name__)

MAX_CHUNKS_PER_STEP = 64
"""How many chunks a reader that catches up gets at a time, so that others get their turn on the loop and the socket."""

MAX_FOLLOWERS = 256
"""How many followers a generation may have. They cost frames, and nothing in the engine."""

CHUNK_BYTES = 48
BUFFER_BYTES = 4096
"""About what a chunk and a buffer take beyond the chunks' own bytes. Counted too, or short responses would be free."""


class ReplayBudget(Protocol):
    """The bytes that a buffer shares with all others."""

    def count(self, owner: str | None, size: int) -> None:
        """Record that the buffers of `owner` grew by `size` bytes, or shrank if it is negative."""

    def has_room(self, buffer: ReplayBuffer, size: int) -> bool:
        """Whether `buffer` may grow by `size` bytes, once finished buffers nobody reads have made room."""

    def shrink_others(self, buffer: ReplayBuffer, size: int) -> None:
        """Make room for `buffer`, which has nothing to drop, by dropping chunks of others."""


class ReplayBuffer:
    """One generation's chunks, from `first_seq` to `last_seq`, and the task that pulls them."""

    def __init__(
        self,
        stream: LiveStream,
        owner: str | None,
        token: str,
        *,
        grace_s: float,
        keep_finished_s: float,
        budget: ReplayBudget,
        expire: Callable[[ReplayBuffer], None],
        follow_token: str = "",
    ) -> None:
        """Without a reader for `grace_s`, or for `keep_finished_s` once it is finished, `expire` is called.

        With an infinite `grace_s` the generation needs no reader.
        """
        self.id = stream.id
        self.owner = owner
        self.token = token
        self.follow_token = follow_token
        self.bytes = 0
        self.first_seq = 1
        self.last_seq = 0
        self.is_finished = False
        self.error: TwowireError | None = None
        self.grace_s = grace_s
        self._stream = stream
        self._keep_finished_s = keep_finished_s
        self._budget = budget
        self._expire = expire
        self._chunks: deque[bytes] = deque()
        self._reader: ReplayReader | None = None
        self._followers: set[ReplayReader] = set()
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._pump = asyncio.create_task(self._pull(), name=f"pump-{stream.id}")

    @property
    def status(self) -> Status:
        return self._stream.status

    @property
    def usage(self) -> Usage:
        return self._stream.usage

    @property
    def generation(self) -> Generation:
        return self._stream.generation

    @property
    def is_background(self) -> bool:
        """Whether it runs without needing a reader."""
        return self.grace_s == math.inf and not self.is_finished

    @property
    def is_read(self) -> bool:
        """A reader is attached."""
        return self._reader is not None

    async def _pull(self) -> None:
        try:
            while (chunks := await self._stream.next()) is not None:
                for chunk in chunks:
                    await self._append(chunk)
                if not chunks:
                    for reader in self._readers():
                        reader.note_silence()
        except TwowireError as error:
            self.error = error
        except Exception:
            log.exception("resumable_stream_failed", id=self.id)
            self.error = TwowireError(Fault.INTERNAL, "The server failed; its log says why.")
        finally:
            await self._finish()

    async def _finish(self) -> None:
        await self._stream.leave()
        self.is_finished = True
        self._notify()
        if self._reader is None:
            self._set_timer(self._keep_finished_s)

    async def _append(self, chunk: bytes) -> None:
        size = len(chunk) + CHUNK_BYTES
        while not self._budget.has_room(self, size):
            if not self._chunks:
                self._budget.shrink_others(self, size)
                break
            if self.can_drop:
                self.drop_oldest()
            else:
                # The reader lags by a whole buffer: wait, so that it misses nothing.
                self._changed.clear()
                await self._changed.wait()
        self._chunks.append(chunk)
        self.last_seq += 1
        self.bytes += size
        self._budget.count(self.owner, size)
        self._notify()

    @property
    def can_drop(self) -> bool:
        """Its oldest chunk can be dropped: no reader still needs it."""
        return bool(self._chunks) and (self._reader is None or self._reader.seq >= self.first_seq)

    def drop_oldest(self) -> None:
        """Drop the oldest chunk."""
        size = len(self._chunks.popleft()) + CHUNK_BYTES
        self.first_seq += 1
        self.bytes -= size
        self._budget.count(self.owner, -size)

    def drop_all(self) -> None:
        """Drop all chunks."""
        while self._chunks:
            self.drop_oldest()

    def _notify(self) -> None:
        """Wake the task that pulls, and the readers."""
        self._changed.set()
        for reader in self._readers():
            reader.changed.set()

    def _readers(self) -> list[ReplayReader]:
        return [*self._followers] if self._reader is None else [self._reader, *self._followers]

    def attach(self, starting_after: int) -> ReplayReader:
        """A new reader of the chunks after `starting_after`; a reader already attached is displaced.

        Raises `TwowireError`: there is no such chunk yet (400), or it has been dropped (410).
        """
        self._check_cursor(starting_after)
        before, self._reader = self._reader, ReplayReader(self, starting_after)
        if before is not None:
            before.displace()
        self._stop_timer()
        return self._reader

    def _check_cursor(self, starting_after: int) -> None:
        if starting_after > self.last_seq:
            message = f"starting_after is {starting_after}; the last chunk so far is {self.last_seq}."
            raise TwowireError(Fault.INVALID_VALUE, message, param="starting_after")
        if starting_after + 1 < self.first_seq:
            message = f"The chunks up to {self.first_seq - 1} are gone; the earliest that is left is {self.first_seq}."
            raise TwowireError(Fault.CHUNKS_GONE, message, param="starting_after")

    def follow(self, follower: ReplayReader) -> None:
        """Add a follower, which reads next to the reader.

        Raises `TwowireError` as `attach` does, and (429) if there are too many.
        """
        self._check_cursor(follower.seq)
        if len(self._followers) >= MAX_FOLLOWERS:
            message = f"{MAX_FOLLOWERS} others follow this generation; no more may."
            raise TwowireError(Fault.TOO_MANY_STREAMS, message, retry_after_s=5)
        self._followers.add(follower)

    def unfollow(self, follower: ReplayReader) -> None:
        """Remove a follower, if present."""
        self._followers.discard(follower)

    def detach(self, reader: ReplayReader) -> None:
        """Detach `reader`; unless another attaches in time, the generation ends."""
        if self._reader is reader:
            self._reader = None
            self._changed.set()
            self._set_timer(self._keep_finished_s if self.is_finished else self.grace_s)

    def read(self, after: int) -> list[bytes]:
        """Up to `MAX_CHUNKS_PER_STEP` chunks after number `after`. Raises `TwowireError` if the first was dropped."""
        start = after + 1 - self.first_seq
        if start < 0:
            raise TwowireError(
                Fault.CHUNKS_GONE, f"The chunks up to {self.first_seq - 1} are gone.", param="starting_after"
            )
        stop = min(start + MAX_CHUNKS_PER_STEP, len(self._chunks))
        chunks = [self._chunks[position] for position in range(start, stop)]
        # The chunks read may be dropped now, so a task waiting for room can go on.
        self._changed.set()
        return chunks

    def error_events(self, error: TwowireError) -> list[Event]:
        """The events that tell a reader that the stream has failed."""
        return self._stream.error_events(error)

    async def cancel(self) -> None:
        """End the generation; its chunks stay readable."""
        await self._stream.cancel()

    async def wait_finished(self) -> None:
        """Wait for the last chunk."""
        await asyncio.wait({self._pump})

    def _set_timer(self, delay_s: float) -> None:
        self._stop_timer()
        if delay_s < math.inf:
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._expire, self)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def discard(self) -> None:
        """End the generation if it still runs, and drop the chunks."""
        self._stop_timer()
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)
        if not self.is_finished:
            # The task was cancelled before its first step.
            await self._finish()
        self._stop_timer()
        self.drop_all()
        self._notify()
