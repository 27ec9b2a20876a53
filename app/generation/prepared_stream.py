"""A response without output: its prompt is computed, so that what continues it finds it in the prefix cache."""

from __future__ import annotations

import time

import orjson

from app.generation.fast_path import Sender
from app.generation.kept_stream import Keep
from app.observability.outcome import RequestOutcome, outcome_of
from engine.generation import Generation
from protocol.encoder import Event, KeptEncoder, NamedEvent
from protocol.errors import TwowireError
from protocol.output import Status, Usage

COMPLETED = b"response.completed"


class PreparedStream:
    """Implements `app.generation.stream.ResponseStream`: the events of a completed response without output."""

    def __init__(self, answer_id: str, generation: Generation, encoder: KeptEncoder, keep: Keep) -> None:
        self.id = answer_id
        self.generation = generation
        self.seq = 0
        self._encoder = encoder
        self._keep = keep
        self._ended = False

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
        return self._ended

    async def next(self, sender: Sender | None = None) -> list[Event] | None:
        if self._ended:
            return None
        if not self.seq:
            return self._counted(self._encoder.opening(1, self.generation.usage))
        try:
            if not await self._computed():
                return []
            last = await self._completed()
        except TwowireError as error:
            last = self._encoder.error(error)
            await self._keep(self._encoder.response())
        self._ended = True
        return self._counted(last)

    async def _computed(self) -> bool:
        """Wait for the prompt. False: it takes long."""
        # The engine computes a prompt only to generate: the first token ends the wait, and is dropped.
        async for deltas in self.generation:
            if deltas:
                break
            if self.generation.is_silent:
                return False
        await self.generation.close("completed")
        return True

    async def _completed(self) -> list[Event]:
        response = orjson.loads(self._encoder.response()) | {"status": "completed", "completed_at": int(time.time())}
        encoded = orjson.dumps(response)
        await self._keep(encoded)
        last = b'{"type":"%b","sequence_number":%d,"response":%b}' % (COMPLETED, self.seq, encoded)
        return [NamedEvent(COMPLETED, last)]

    def _counted(self, events: list[Event]) -> list[Event]:
        self.seq += len(events)
        return events

    def error_events(self, error: TwowireError) -> list[Event]:
        return self._encoder.error(error)

    async def cancel(self) -> None:
        await self.generation.cancel()

    async def leave(self) -> None:
        self._ended = True
        await self.generation.close()
