"""A stream whose response is kept before the client gets the event that ends it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import cast

from app.generation.coalesce import Pace
from app.generation.fast_path import Sender
from app.generation.stream import LiveStream
from engine.generation import Generation
from protocol.encoder import Event, KeptEncoder
from protocol.errors import TwowireError

Keep = Callable[[bytes], Awaitable[None]]
"""Keeps a response object; replaces an earlier state of it. Raises `TwowireError`."""


class KeptStream(LiveStream):
    """A failure is an event like others here: the failed response is kept too."""

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

    @property
    def response(self) -> bytes:
        """The response object so far, in JSON."""
        return cast(KeptEncoder, self._encoder).response()

    async def keep(self) -> None:
        """Keep the response as it is now."""
        await self._keep(self.response)

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
