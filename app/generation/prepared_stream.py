"""A response without a generation: the request was checked and rendered, and can be continued."""

from __future__ import annotations

import time

import orjson

from app.generation.fast_path import Sender
from app.generation.kept_stream import Keep
from app.observability.outcome import RequestOutcome, outcome_of
from engine.api import FastPath
from engine.generation import Generation
from protocol.encoder import Event, KeptEncoder, NamedEvent
from protocol.errors import TwowireError
from protocol.output import Delta, Status, Usage

COMPLETED = b"response.completed"


class NothingToGenerate:
    """Implements `engine.api.EngineStream`: ends at once."""

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


class PreparedStream:
    """Implements `app.generation.stream.ResponseStream`: the events of a completed response without output."""

    def __init__(self, answer_id: str, generation: Generation, encoder: KeptEncoder, keep: Keep) -> None:
        self.id = answer_id
        self.generation = generation
        self.seq = 0
        self._encoder = encoder
        self._keep = keep

    @property
    def outcome(self) -> RequestOutcome:
        return outcome_of(self.generation)

    @property
    def status(self) -> Status:
        return self.generation.outcome or "cancelled"

    @property
    def usage(self) -> Usage:
        return self.generation.usage

    @property
    def is_over(self) -> bool:
        return True

    async def next(self, sender: Sender | None = None) -> list[Event] | None:
        if self.seq:
            return None
        events = self._encoder.opening(1, self.generation.usage)
        response = orjson.loads(self._encoder.response()) | {"status": "completed", "completed_at": int(time.time())}
        encoded = orjson.dumps(response)
        await self._keep(encoded)
        last = b'{"type":"%b","sequence_number":%d,"response":%b}' % (COMPLETED, len(events), encoded)
        events.append(NamedEvent(COMPLETED, last))
        self.seq = len(events)
        await self.generation.close("completed")
        return events

    def error_events(self, error: TwowireError) -> list[Event]:
        return self._encoder.error(error)

    async def cancel(self) -> None:
        await self.generation.cancel()

    async def leave(self) -> None:
        await self.generation.close()
