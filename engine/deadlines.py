"""Ends requests that miss the deadline of their first token, or of their end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from protocol.errors import Fault, TwowireError

if TYPE_CHECKING:
    from engine.generation import Generation

RETRY_AFTER_S = 5
"""A late first token means that the server is too busy now."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Both in seconds from `began_at`, by `time.monotonic`; None is no limit."""

    first_token_s: float | None = None
    request_s: float | None = None
    began_at: float = field(default_factory=time.monotonic)

    def due(self) -> list[tuple[float, TwowireError]]:
        """The seconds left, negative if past, and the error of each deadline."""
        elapsed_s = time.monotonic() - self.began_at
        due = []
        if self.first_token_s is not None:
            message = f"There was no first token within {self.first_token_s:g} s; the server is too busy."
            late = TwowireError(Fault.FIRST_TOKEN_TIMEOUT, message, retry_after_s=RETRY_AFTER_S)
            due.append((self.first_token_s - elapsed_s, late))
        if self.request_s is not None:
            message = f"The request took longer than {self.request_s:g} s and was ended."
            due.append((self.request_s - elapsed_s, TwowireError(Fault.DEADLINE_EXCEEDED, message)))
        return due

    @asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """Cancel the body at the earlier deadline, and raise its `TwowireError` (504)."""
        left_s, late = min(self.due(), key=lambda due: due[0], default=(None, None))
        try:
            async with asyncio.timeout(left_s) as timer:
                yield
        except TimeoutError:
            if late is None or not timer.expired():
                raise
            raise late from None


class DeadlineTimer:
    """Ends `generation` when one of its deadlines passes. Costs a timer each, nothing per token."""

    def __init__(self, deadlines: Deadlines, generation: Generation) -> None:
        self._generation = generation
        self._ending: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        self._timers = [loop.call_later(max(0.0, left_s), self._pass, late) for left_s, late in deadlines.due()]

    def _pass(self, late: TwowireError) -> None:
        if late.fault is Fault.FIRST_TOKEN_TIMEOUT and self._generation.first_token_at is not None:
            return
        self._ending = asyncio.create_task(self._generation.expire(late))

    def stop(self) -> None:
        """Cancel the timers: the generation has ended. An `expire` that runs goes on."""
        for timer in self._timers:
            timer.cancel()
