"""A generation of another server, as its readers here see it."""

from __future__ import annotations

import asyncio
import uuid

import structlog

from app.generation.replay.reader import Follower, ReplayReader
from app.relay.messages import MAX_LINE_BYTES, Message, decoded_error, decoded_events, receive, send
from engine.api import FastPath, Prepared, PreparedPrompt
from engine.generation import Generation
from protocol.encoder import Event
from protocol.errors import Fault, TwowireError, error_bytes
from protocol.output import Delta, Status, Usage

log = structlog.get_logger(__name__)

MAX_WAITING = 256
"""How many events wait for a reader here; beyond that the other server waits, as for a slow client."""
AT_ONCE = 64
SILENT_FOR_S = 30.0
"""After how long without a word a server counts as gone. One that runs sends something every ten seconds."""


class _NotHere:
    """Implements `engine.api.EngineStream` for a generation that runs on another server."""

    cached_tokens = 0
    scheduled_at: float | None = None

    async def next(self, fast_path: FastPath | None = None) -> list[Delta] | None:
        return None

    def wake(self) -> None:
        pass

    async def cancel(self) -> None:
        pass

    async def close(self) -> None:
        pass


class RemoteBuffer:
    """Implements `app.generation.replay.reader.ReadBuffer`, over a connection of its own, which `detach` closes."""

    def __init__(
        self,
        answer_id: str,
        opened: Message,
        starting_after: int,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        *,
        is_follower: bool,
    ) -> None:
        self.id = answer_id
        self.token: str = opened["token"]
        self.follow_token: str = opened["follow_token"]
        self.grace_s: float = opened["grace_s"]
        self.first_seq: int = opened["first_seq"]
        self.last_seq: int = opened["last_seq"]
        self.is_finished = False
        self.error: TwowireError | None = None
        self.status: Status = "cancelled"
        self.generation = Generation(
            uuid.uuid4().hex, Prepared((PreparedPrompt(0, None, None),), 0), _NotHere(), on_end=lambda ended: None
        )
        self.reader = (Follower if is_follower else ReplayReader)(self, starting_after)
        self._error_events: list[Event] = []
        self._received = starting_after
        self._events: list[Event] = []
        self._taken = asyncio.Event()
        self._source, self._sink = streams
        self._task = asyncio.create_task(self._pull(), name=f"relay-{answer_id}")

    @property
    def usage(self) -> Usage:
        return self.generation.usage

    async def _pull(self) -> None:
        try:
            while (message := await self._receive()) is not None:
                if "events" in message:
                    await self._add(decoded_events(message["events"]), message["usage"])
                elif "silent" in message:
                    self.reader.note_silence()
                elif "alive" not in message:
                    await self._end(message["end"])
                    return
            raise ConnectionError("it was closed")
        except (OSError, ValueError, KeyError) as error:
            log.warning("relay_lost", id=self.id, error=repr(error))
            self.error = TwowireError(
                Fault.ENGINE_DIED, "The server that generates this can no longer be reached.", retry_after_s=5
            )
            self._error_events = [error_bytes(self.error)]
            self.status = "failed"
            self.generation.error = self.error
            await self.generation.close("failed")
        finally:
            self.is_finished = True
            self.reader.changed.set()
            self._sink.close()

    async def _receive(self) -> Message | None:
        async with asyncio.timeout(SILENT_FOR_S):
            return await receive(self._source, MAX_LINE_BYTES)

    async def _add(self, events: list[Event], usage: dict[str, int]) -> None:
        while len(self._events) >= MAX_WAITING:
            self._taken.clear()
            await self._taken.wait()
        self._events += events
        self._received += len(events)
        self.last_seq = max(self.last_seq, self._received)
        self._count(usage)
        self.reader.changed.set()

    def _count(self, usage: dict[str, int]) -> None:
        for name, tokens in usage.items():
            setattr(self.generation.usage, name, tokens)

    async def _end(self, end: Message) -> None:
        self._count(end["usage"])
        self.last_seq = self._received
        self.status = end["status"]
        if end["error"] is not None:
            self.error = self.generation.error = decoded_error(end["error"])
            self._error_events = decoded_events(end["error_events"])
        await self.generation.close(self.status)

    def read(self, after: int) -> list[Event]:
        events, self._events = self._events[:AT_ONCE], self._events[AT_ONCE:]
        self._taken.set()
        return events

    def error_events(self, error: TwowireError) -> list[Event]:
        return self._error_events if error is self.error else [error_bytes(error)]

    async def cancel(self) -> None:
        try:
            await send(self._sink, {"cancel": True})
        except OSError:
            pass  # The task that reads says so.

    def detach(self, reader: ReplayReader) -> None:
        self._leave()

    def unfollow(self, follower: ReplayReader) -> None:
        self._leave()

    def _leave(self) -> None:
        self._task.cancel()
        self._sink.close()
        if self.generation.outcome is None:
            # It only describes the other server's; this ends its timer.
            self._closing = asyncio.create_task(self.generation.close())
