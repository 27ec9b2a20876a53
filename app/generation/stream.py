"""A generation as a stream of numbered events, pulled by whoever sends them.

A stream that must survive its connection goes through a replay buffer instead: `app.generation.replay.store`.
"""

from __future__ import annotations

from typing import Protocol

import orjson

from app.generation.coalesce import Coalescer, Pace
from app.generation.fast_path import Sender
from app.observability.outcome import RequestOutcome, outcome_of
from engine.api import FastPath
from engine.generation import Generation
from protocol.encoder import Event, FillingEncoder, StreamEncoder
from protocol.errors import TwowireError
from protocol.output import Delta, Status, Usage


class ResponseStream(Protocol):
    """The events of one response. Call `next` until it returns None, then read `status`; call `leave` in any case."""

    id: str

    @property
    def generation(self) -> Generation:
        """The generation behind it."""

    @property
    def outcome(self) -> RequestOutcome:
        """How reading it ended; valid once it has been left."""

    @property
    def seq(self) -> int:
        """The number of the last event sent or returned; the first is 1."""

    @property
    def status(self) -> Status:
        """How it ended; valid once `next` has returned None, or raised."""

    @property
    def usage(self) -> Usage:
        """The tokens so far."""

    @property
    def is_over(self) -> bool:
        """All choices have ended: `next` returns what is left without waiting."""

    async def next(self, sender: Sender | None = None) -> list[Event] | None:
        """The next events, at least one; none of them after a silence; None at the end.

        While this waits, plain text may take the fast path to `sender`, before those events; `seq` counts it. Raises
        `TwowireError` if the generation failed: then send what `error_events` gives, and nothing else.
        """

    def error_events(self, error: TwowireError) -> list[Event]:
        """The events that tell the client that the stream has failed."""

    async def cancel(self) -> None:
        """End the generation; `next` still returns what was made until now."""

    async def leave(self) -> None:
        """Stop reading. Without a replay buffer, this ends the generation."""


class LiveStream:
    """Pulls the generation directly. While the wire is busy, the engine merges its steps; nothing is queued here."""

    def __init__(
        self,
        answer_id: str,
        generation: Generation,
        encoder: StreamEncoder,
        choices: int,
        *,
        pace: Pace | None = None,
    ) -> None:
        self.id = answer_id
        self.generation = generation
        self.seq = 0
        self._encoder = encoder
        self._choices = choices
        self._choices_ended = 0
        self._first: list[Delta] | None = None
        self._opened = False
        self._ended = False
        self._failure: TwowireError | None = None
        self._sender: Sender | None = None
        self._filler = encoder if isinstance(encoder, FillingEncoder) else None
        send = self._send if self._filler is None else self._send_filled
        self._coalescer = Coalescer(pace, send, generation.wake) if pace is not None else None
        take = self._coalescer.take if self._coalescer is not None else send
        self._fast_path: FastPath | None = generation.fast_path_to(take)

    @property
    def status(self) -> Status:
        outcome = self.generation.outcome
        return "cancelled" if outcome is None else outcome

    @property
    def outcome(self) -> RequestOutcome:
        return outcome_of(self.generation)

    @property
    def is_over(self) -> bool:
        return self._choices_ended >= self._choices

    @property
    def usage(self) -> Usage:
        return self.generation.usage

    async def begin(self) -> None:
        """Take the engine's first step now, so that its refusal can still be answered with a status.

        Waits at most the keep-alive interval; the first step is then empty. Raises `TwowireError`.
        """
        self._first = await anext(self.generation, [])

    async def next(self, sender: Sender | None = None) -> list[Event] | None:
        if not self._opened:
            self._opened = True
            opening = self._encoder.opening(self._choices, self.generation.usage) + self._encoded(self._first or [])
            if opening or self.generation.is_silent:
                return self._count(opening)
        self._sender = sender
        while True:
            events = await (self._step() if self._coalescer is None else self._coalesced(self._coalescer))
            # A step may be empty for other reasons: the coalescer woke the stream, or the API does not show its deltas.
            if events or events is None or self.generation.is_silent:
                return events

    async def _step(self) -> list[Event] | None:
        try:
            deltas = await self.generation.step(self._open_fast_path())
        except StopAsyncIteration:
            return self._closing()
        return self._count(self._encoded(deltas))

    async def _coalesced(self, coalescer: Coalescer) -> list[Event] | None:
        """Like `_step`, at the coalescer's pace. What it holds comes first, even if the generation has failed."""
        if self._failure is not None:
            raise self._failure
        if self._sender is None:
            await coalescer.pause()
        deltas, has_ended = [], False
        try:
            deltas = await self.generation.step(self._open_fast_path())
        except StopAsyncIteration:
            has_ended = True
        except TwowireError as error:
            self._failure = error
        if rest := coalescer.rest():
            deltas = [Delta(0, rest, 0), *deltas]
        if self._failure is not None and not deltas:
            raise self._failure
        if has_ended and not deltas:
            return self._closing()
        return self._count(self._encoded(deltas))

    def _open_fast_path(self) -> FastPath | None:
        """The fast path for the coming step, if the wire has one and the encoder has plain text to offer."""
        sender, template = self._sender, self._encoder.text_template
        if sender is None or template is None:
            return None
        if sender.template is not template:
            sender.use(template)
        return self._fast_path

    def _send(self, text: str) -> bool:
        """Send a text on the fast path. Called for every token: see `app.generation.fast_path`."""
        if self._sender is None or not self._sender.send(self.seq + 1, orjson.dumps(text)):
            return False
        self.seq += 1
        return True

    def _send_filled(self, text: str) -> bool:
        """`_send` for an encoder whose events differ in more than their text."""
        filler = self._filler
        if self._sender is None or filler is None or not self._sender.send(self.seq + 1, filler.fill(text)):
            return False
        filler.sent(text)
        self.seq += 1
        return True

    def _encoded(self, deltas: list[Delta]) -> list[Event]:
        if deltas and self._coalescer is not None:
            self._coalescer.sent()
        events = []
        for delta in deltas:
            if delta.finish_reason is not None:
                self._choices_ended += 1
            events += self._encoder.encode(delta)
        return events

    def _count(self, events: list[Event]) -> list[Event]:
        self.seq += len(events)
        return events

    def _closing(self) -> list[Event] | None:
        if self._ended:
            return None
        self._ended = True
        return self._count(self._encoder.closing(self.generation.usage)) or None

    def error_events(self, error: TwowireError) -> list[Event]:
        return self._encoder.error(error)

    async def cancel(self) -> None:
        await self.generation.cancel()

    async def leave(self) -> None:
        if self._coalescer is not None:
            self._coalescer.rest()
        # They refer to this stream, which would have to wait for the garbage collector.
        self._fast_path = self._coalescer = self._sender = self._filler = None
        await self.generation.close()
