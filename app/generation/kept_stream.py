"""A stream whose response is kept before the client gets the event that ends it."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol, cast

import orjson
import structlog

from app.generation.coalesce import Pace
from app.generation.fast_path import Sender
from app.generation.stream import LiveStream
from engine.generation import Generation
from protocol.encoder import Event, KeptEncoder
from protocol.errors import TwowireError

log = structlog.get_logger(__name__)


class Keep(Protocol):
    """Keeps a response object; replaces an earlier state of it. Raises `TwowireError`."""

    def __call__(self, response: bytes, *, text_lengths: Sequence[Sequence[int]] = ()) -> Awaitable[None]:
        """`text_lengths` are those of a `KeptEncoder`, for a response whose events may be read again."""


class KeptStream(LiveStream):
    """A failure is an event like any other: the failed response is kept too."""

    def __init__(
        self,
        answer_id: str,
        generation: Generation,
        encoder: KeptEncoder,
        choices: int,
        keep: Keep,
        *,
        pace: Pace | None = None,
    ) -> None:
        super().__init__(answer_id, generation, encoder, choices, pace=pace)
        self._keep = keep
        self._is_kept = False

    @property
    def response(self) -> bytes:
        """The response object so far, in JSON."""
        response = cast(KeptEncoder, self._encoder).response()
        return cancelled(response) if self.generation.outcome == "cancelled" else response

    async def keep(self) -> None:
        """Keep the response as it is now."""
        await self._keep(self.response, text_lengths=cast(KeptEncoder, self._encoder).text_lengths)
        self._is_kept = True

    def steer(self) -> bool:
        """Whether it may be cancelled to be continued with new input; its response says so then."""
        # What somebody has cancelled over HTTP meanwhile stays cancelled.
        return not self.generation.is_cancelled and cast(KeptEncoder, self._encoder).steer()

    async def next(self, sender: Sender | None = None) -> list[Event] | None:
        if self._ended:
            return None
        try:
            events = await super().next(sender)
        except TwowireError as error:
            self._ended = True
            events = self._count(self._encoder.error(error))
        if self._ended:
            try:
                await self.keep()
            except TwowireError as error:
                last = self._encoder.error(error)
                sent = (events or [])[:-1]
                self.seq += len(sent) + len(last) - len(events or [])
                events = [*sent, *last]
        return events

    async def leave(self) -> None:
        await super().leave()
        if self._is_kept and not self._ended:
            # Otherwise the stored response would stay in progress.
            self._ended = True
            try:
                await self.keep()
            except TwowireError as error:
                log.warning("response_not_kept", id=self.id, error=error.fault.code)


def cancelled(response: bytes) -> bytes:
    """The response object with the status of a cancelled response, unless it has ended already."""
    body = orjson.loads(response)
    if body["status"] != "in_progress":
        return response
    return orjson.dumps(body | {"status": "cancelled", "completed_at": None})
