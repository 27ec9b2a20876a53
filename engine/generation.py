"""One generation, from its slot in the engine to its end. Finished, failed, cancelled and abandoned take one path.

Whoever starts a generation closes it. Closing twice is harmless, and any task may do it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from engine.api import EngineStream, FastPath, Prepared
from protocol.errors import TwowireError
from protocol.output import Delta, Status, Usage


class GenerationObserver(Protocol):
    """Notified of what a generation does; times are in seconds. `gap` is called for every token and must be cheap."""

    def started(self) -> None: ...

    def first_token(self, after_s: float) -> None: ...

    def gap(self, since_last_s: float) -> None: ...

    def ended(self, generation: Generation) -> None: ...


class Generation:
    """Async iterator over the steps of one generation; a step is the list of deltas that are ready.

    A step may be empty; if `is_silent` then, the wire may send a keep-alive. `usage` is right at every moment, even
    after a cancel. `outcome` is None while it runs. `owner` may cancel it by its id (None: anybody, as there are no
    keys).
    """

    def __init__(
        self,
        generation_id: str,
        prepared: Prepared,
        stream: EngineStream,
        *,
        on_end: Callable[[Generation], None],
        observer: GenerationObserver | None = None,
        owner: str | None = None,
        keepalive_s: float = 15.0,
    ) -> None:
        self.id = generation_id
        self.owner = owner
        self.usage = Usage(
            prompt_tokens=prepared.prompt_tokens,
            image_tokens=prepared.image_tokens,
            audio_tokens=prepared.audio_tokens,
        )
        self.sequences = prepared.sequences
        self.adapter = prepared.adapter
        self.outcome: Status | None = None
        self.error: TwowireError | None = None
        self._unseen_error: TwowireError | None = None
        self._is_cancelled = False
        self._holds_slot = True
        self.started_at = time.monotonic()
        self.first_token_at: float | None = None
        self.ended_at: float | None = None
        self._last_step_at = self.started_at
        self._stream = stream
        self._on_end = on_end
        self._observer = observer
        self._keepalive_s = keepalive_s
        self._timer: asyncio.TimerHandle | None = None
        self._arm(keepalive_s)
        if observer is not None:
            observer.started()

    @property
    def scheduled_at(self) -> float | None:
        """When the engine started to compute it, by `time.monotonic`; None if unknown."""
        return self._stream.scheduled_at

    @property
    def is_cancelled(self) -> bool:
        """It was cancelled, or its time was up; its reader may not have seen the end yet."""
        return self._is_cancelled

    @property
    def is_silent(self) -> bool:
        """No step has come for at least `keepalive_s`."""
        return time.monotonic() - self._last_step_at >= self._keepalive_s

    def __aiter__(self) -> Generation:
        return self

    async def __anext__(self) -> list[Delta]:
        return await self.step(None)

    async def step(self, fast_path: FastPath | None) -> list[Delta]:
        """The next step, as iterating gives it. Steps before it may go to `fast_path`, made by `fast_path_to`."""
        if self.outcome is not None:
            raise self._end()
        try:
            deltas = await self._stream.next(fast_path)
        except TwowireError as error:
            self.error = error
            await self.close("failed")
            raise
        if deltas is None or self.outcome is not None:
            await self.close("cancelled" if self._is_cancelled else "completed")
            raise self._end()
        if deltas:
            self._count(deltas)
        return deltas

    def _end(self) -> Exception:
        """What to raise once it has ended: an abort's error, once, then the end."""
        error, self._unseen_error = self._unseen_error, None
        return error or StopAsyncIteration()

    def _count(self, deltas: list[Delta]) -> None:
        now = time.monotonic()
        tokens = 0
        for delta in deltas:
            tokens += delta.tokens
            if delta.part == "reasoning":
                self.usage.reasoning_tokens += delta.tokens
        self.usage.completion_tokens += tokens
        if tokens:
            if self.first_token_at is None:
                self.first_token_at = now
                self.usage.cached_tokens = self._stream.cached_tokens
                if self._observer is not None:
                    self._observer.first_token(now - self.started_at)
            elif self._observer is not None:
                self._observer.gap(now - self._last_step_at)
        self._last_step_at = now

    def wake(self) -> None:
        """End the current wait for a step with an empty one."""
        self._stream.wake()

    def fast_path_to(self, take: Callable[[str], bool]) -> FastPath:
        """A fast path that counts what `take` sends. Called for every token: see `app.generation.fast_path`."""
        usage, observer, monotonic = self.usage, self._observer, time.monotonic

        def fast_path(text: str, tokens: int) -> bool:
            if self.outcome is not None or not take(text):
                return False
            if self.first_token_at is None or not tokens:
                self._count([Delta(0, text, tokens)])
                return True
            now = monotonic()
            usage.completion_tokens += tokens
            if observer is not None:
                observer.gap(now - self._last_step_at)
            self._last_step_at = now
            return True

        return fast_path

    async def cancel(self) -> None:
        """End it in the engine now, and free its slot; the reader still gets what was made until now."""
        if self.outcome is None and not self._is_cancelled:
            self._is_cancelled = True
            await self._stream.cancel()
            self._release()

    def take_stream(self, stream: EngineStream) -> None:
        """Read `stream` from now on: it has left the queue."""
        self._stream = stream

    async def expire(self, error: TwowireError) -> None:
        """Cancel it because its time is up: after what was made until now, the reader gets `error`."""
        if self.outcome is None and not self._is_cancelled:
            self.error = self._unseen_error = error
            await self.cancel()

    async def close(self, outcome: Status = "cancelled") -> None:
        """End it, in the engine too, and free its slot. The first outcome stands."""
        if self.outcome is not None:
            return
        self.outcome = outcome if self._unseen_error is None else "failed"
        self.ended_at = time.monotonic()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            await self._stream.close()
        finally:
            self._release()
            if self._observer is not None:
                self._observer.ended(self)

    def _release(self) -> None:
        if self._holds_slot:
            self._holds_slot = False
            self._on_end(self)

    async def abort(self, error: TwowireError) -> None:
        """End it with `error`, which the reader gets in place of the next step."""
        if self.outcome is None:
            self.error = self._unseen_error = error
            await self.close("failed")

    async def __aenter__(self) -> Generation:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def _arm(self, delay_s: float) -> None:
        # One timer per generation and interval, not one per token.
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._tick)

    def _tick(self) -> None:
        silent_s = time.monotonic() - self._last_step_at
        if silent_s >= self._keepalive_s:
            self._stream.wake()
            silent_s = 0.0
        self._arm(self._keepalive_s - silent_s)
