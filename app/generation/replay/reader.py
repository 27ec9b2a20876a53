"""The readers of a replay buffer: the generation's own, and its followers."""

from __future__ import annotations

import asyncio
from typing import Protocol

from app.generation.fast_path import Sender
from app.observability.outcome import RequestOutcome, outcome_of
from engine.generation import Generation
from protocol.encoder import Event
from protocol.errors import Fault, TwowireError
from protocol.output import Status, Usage


class ReadBuffer(Protocol):
    """The chunks of one generation, as its readers see them."""

    id: str
    token: str
    follow_token: str
    grace_s: float
    first_seq: int
    last_seq: int
    is_finished: bool
    error: TwowireError | None

    @property
    def status(self) -> Status: ...

    @property
    def usage(self) -> Usage: ...

    @property
    def generation(self) -> Generation: ...

    def read(self, after: int) -> list[bytes]:
        """The next chunks after number `after`, or none yet."""

    def error_events(self, error: TwowireError) -> list[Event]:
        """The events that tell a reader that the stream has failed."""

    async def cancel(self) -> None:
        """End the generation."""

    def detach(self, reader: ReplayReader) -> None:
        """The reader has left."""

    def unfollow(self, follower: ReplayReader) -> None:
        """A follower has left."""


class ReplayReader:
    """Reads a buffer as a `ResponseStream`. After it leaves, the generation runs on for its grace period."""

    def __init__(self, buffer: ReadBuffer, starting_after: int) -> None:
        self.id = buffer.id
        self.seq = starting_after
        self.changed = asyncio.Event()
        self.buffer = buffer
        self._displaced = False
        self._is_silent = False
        self._is_at_end = False

    @property
    def generation(self) -> Generation:
        return self.buffer.generation

    @property
    def outcome(self) -> RequestOutcome:
        return outcome_of(self.buffer.generation) if self._is_at_end else "detached"

    @property
    def is_over(self) -> bool:
        return self.buffer.is_finished and self.seq >= self.buffer.last_seq

    @property
    def status(self) -> Status:
        return self.buffer.status

    @property
    def usage(self) -> Usage:
        return self.buffer.usage

    def displace(self) -> None:
        """Record that another reader has taken over."""
        self._displaced = True
        self.changed.set()

    def note_silence(self) -> None:
        """Make a waiting `next` return no chunks: the generation has been silent for a while."""
        self._is_silent = True
        self.changed.set()

    async def next(self, sender: Sender | None = None) -> list[bytes] | None:
        self._is_silent = False
        while True:
            if self._displaced:
                raise TwowireError(Fault.TAKEN_OVER, "Another reader has taken over this generation.")
            chunks = self.buffer.read(self.seq)
            if chunks:
                self.seq += len(chunks)
                return chunks
            if self.buffer.is_finished:
                self._is_at_end = True
                if self.buffer.error is not None:
                    raise self.buffer.error
                return None
            if self._is_silent:
                return []
            self.changed.clear()
            await self.changed.wait()

    def error_events(self, error: TwowireError) -> list[Event]:
        return self.buffer.error_events(error)

    async def cancel(self) -> None:
        await self.buffer.cancel()

    async def leave(self) -> None:
        self.buffer.detach(self)


class Follower(ReplayReader):
    """Reads a buffer next to its reader. It neither keeps the generation alive nor ends it.

    Nothing waits for it: a follower that lags by a whole buffer is cut off.
    """

    _has_stopped = False

    @property
    def status(self) -> Status:
        return "cancelled" if self._has_stopped else super().status

    async def next(self, sender: Sender | None = None) -> list[Event] | None:
        try:
            chunks = await super().next(sender)
        except TwowireError as error:
            if error.fault is not Fault.CHUNKS_GONE:
                raise
            raise TwowireError(
                Fault.CHUNKS_GONE,
                f"This follower reads too slowly: {error.message} The earliest left is {self.buffer.first_seq}.",
                param="starting_after",
            ) from error
        return None if self._has_stopped and not chunks else chunks

    async def cancel(self) -> None:
        """Stop following; the generation goes on."""
        self._has_stopped = True
        self.note_silence()

    async def leave(self) -> None:
        self.buffer.unfollow(self)
