"""One reply that survives its wire: a bounded log of its chunks, the task that pulls it, and its reader.

Does not know the wires, nor who may come back to it: `app.generation.replay_store` does. The generation is pulled at
the engine's pace; while a reader is there and lags behind by a whole log, the task waits for it, and what the engine
makes meanwhile is merged there. Where nobody reads, the oldest chunks go.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from typing import TYPE_CHECKING

import structlog

from app.generation.fast_path import Sender
from app.generation.stream import LiveReply
from app.observability.access_log import Fate, fate_of
from engine.generation import Generation
from protocol.channel.frames import Status
from protocol.errors import Fault, TwowireError
from protocol.output import Usage

if TYPE_CHECKING:
    from app.generation.replay_store import ReplyLogs

log = structlog.get_logger(__name__)

TOKEN_BYTES = 16
MAX_CHUNKS_PER_STEP = 64
"""How many chunks a reader that catches up gets at a time, so that it shares the loop and its socket."""

CHUNK_BYTES = 48
LOG_BYTES = 4096
"""What a chunk and a log take beside the chunks' own bytes, about: counted too, or short answers would go unbounded."""


class ReplyLog:
    """One generation's chunks, from `first_seq` to `last_seq`, and the task that pulls them."""

    def __init__(self, reply: LiveReply, owner: str | None, grace_s: float, logs: ReplyLogs) -> None:
        self.id = reply.id
        self.owner = owner
        self.token = secrets.token_urlsafe(TOKEN_BYTES)
        self.bytes = 0
        self.first_seq = 1
        self.last_seq = 0
        self.is_finished = False
        self.error: TwowireError | None = None
        self._reply = reply
        self.grace_s = min(grace_s, logs.limits.grace_max_s)
        self._logs = logs
        self._chunks: deque[bytes] = deque()
        self._reader: LogReader | None = None
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._pump = asyncio.create_task(self._pull(), name=f"pump-{reply.id}")

    @property
    def status(self) -> Status:
        return self._reply.status

    @property
    def usage(self) -> Usage:
        return self._reply.usage

    @property
    def generation(self) -> Generation:
        return self._reply.generation

    @property
    def is_read(self) -> bool:
        """Somebody reads it now."""
        return self._reader is not None

    async def _pull(self) -> None:
        try:
            while (chunks := await self._reply.next()) is not None:
                for chunk in chunks:
                    await self._append(chunk)
                if not chunks and self._reader is not None:
                    self._reader.note_silence()
        except TwowireError as error:
            self.error = error
        except Exception:
            log.exception("resumable_reply_failed", id=self.id)
            self.error = TwowireError(Fault.INTERNAL, "The server failed; its log says why.")
        finally:
            await self._finish()

    async def _finish(self) -> None:
        await self._reply.leave()
        self.is_finished = True
        self._tell()
        if self._reader is None:
            self._set_timer(self._logs.limits.keep_finished_s)

    async def _append(self, chunk: bytes) -> None:
        size = len(chunk) + CHUNK_BYTES
        while not self._logs.has_room(self, size):
            if not self._chunks:
                self._logs.shrink_others(self, size)
                break
            if self.can_drop:
                self.drop_oldest()
            else:
                # Its reader is behind by all that may be kept: wait for it, so that it misses nothing.
                self._changed.clear()
                await self._changed.wait()
        self._chunks.append(chunk)
        self.last_seq += 1
        self.bytes += size
        self._logs.count(self.owner, size)
        self._tell()

    @property
    def can_drop(self) -> bool:
        """Its oldest chunk may go: nobody is about to read it."""
        return bool(self._chunks) and (self._reader is None or self._reader.seq >= self.first_seq)

    def drop_oldest(self) -> None:
        """Forget the oldest chunk."""
        size = len(self._chunks.popleft()) + CHUNK_BYTES
        self.first_seq += 1
        self.bytes -= size
        self._logs.count(self.owner, -size)

    def drop_all(self) -> None:
        """Forget all chunks."""
        while self._chunks:
            self.drop_oldest()

    def _tell(self) -> None:
        """Wake the pump and the reader: something has changed."""
        self._changed.set()
        if self._reader is not None:
            self._reader.changed.set()

    def attach(self, starting_after: int) -> LogReader:
        """A reader of the chunks after `starting_after`; it takes over from the one before, which is told."""
        if starting_after > self.last_seq:
            raise TwowireError(
                Fault.INVALID_VALUE,
                f"starting_after is {starting_after}; the last chunk so far is {self.last_seq}.",
                param="starting_after",
            )
        if starting_after + 1 < self.first_seq:
            raise TwowireError(
                Fault.CHUNKS_GONE,
                f"The chunks up to {self.first_seq - 1} are gone; the earliest that is left is {self.first_seq}.",
                param="starting_after",
            )
        before, self._reader = self._reader, LogReader(self, starting_after)
        if before is not None:
            before.displace()
        self._stop_timer()
        return self._reader

    def detach(self, reader: LogReader) -> None:
        """The reader goes; nobody having come within the grace, the generation ends."""
        if self._reader is reader:
            self._reader = None
            self._changed.set()
            self._set_timer(self._logs.limits.keep_finished_s if self.is_finished else self.grace_s)

    def read(self, after: int) -> list[bytes]:
        """Up to some dozens of chunks that come after number `after`; the caller is the reader."""
        start = after + 1 - self.first_seq
        if start < 0:
            raise TwowireError(
                Fault.CHUNKS_GONE, f"The chunks up to {self.first_seq - 1} are gone.", param="starting_after"
            )
        stop = min(start + MAX_CHUNKS_PER_STEP, len(self._chunks))
        chunks = [self._chunks[position] for position in range(start, stop)]
        # It has made room, as far as a pump that waits is concerned.
        self._changed.set()
        return chunks

    async def cancel(self) -> None:
        """End the generation; its chunks so far stay readable."""
        await self._reply.cancel()

    def _set_timer(self, delay_s: float) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._logs.expire, self)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def discard(self) -> None:
        """End the generation if it runs, and forget the chunks."""
        self._stop_timer()
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)
        if not self.is_finished:
            # The task was cancelled before its first step.
            await self._finish()
        self._stop_timer()
        self.drop_all()
        self._tell()


class LogReader:
    """Reads a log as a `Reply`. To leave it is not to end the generation: that runs on for its grace."""

    def __init__(self, log: ReplyLog, starting_after: int) -> None:
        self.id = log.id
        self.seq = starting_after
        self.changed = asyncio.Event()
        self._log = log
        self._displaced = False
        self._is_silent = False
        self.around_text = None
        self._is_at_end = False

    @property
    def generation(self) -> Generation:
        return self._log.generation

    @property
    def fate(self) -> Fate:
        return fate_of(self._log.generation) if self._is_at_end else "detached"

    @property
    def is_over(self) -> bool:
        return self._log.is_finished and self.seq >= self._log.last_seq

    @property
    def token(self) -> str:
        return self._log.token

    @property
    def grace_s(self) -> float:
        """For how long the generation runs on without a reader: what was asked for, within the server's cap."""
        return self._log.grace_s

    @property
    def last_seq(self) -> int:
        return self._log.last_seq

    @property
    def status(self) -> Status:
        return self._log.status

    @property
    def usage(self) -> Usage:
        return self._log.usage

    def displace(self) -> None:
        """Another reader has taken over."""
        self._displaced = True
        self.changed.set()

    def note_silence(self) -> None:
        """The generation has been silent for a while: a `next` that waits gives no chunks."""
        self._is_silent = True
        self.changed.set()

    async def next(self, sender: Sender | None = None) -> list[bytes] | None:
        self._is_silent = False
        while True:
            if self._displaced:
                raise TwowireError(Fault.TAKEN_OVER, "Another reader has taken over this generation.")
            chunks = self._log.read(self.seq)
            if chunks:
                self.seq += len(chunks)
                return chunks
            if self._log.is_finished:
                self._is_at_end = True
                if self._log.error is not None:
                    raise self._log.error
                return None
            if self._is_silent:
                return []
            self.changed.clear()
            await self.changed.wait()

    async def cancel(self) -> None:
        await self._log.cancel()

    async def leave(self) -> None:
        self._log.detach(self)
