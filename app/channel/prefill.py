"""Has a connection's next prompt read while its user still types, one at a time; `docs/websocket.md` specifies it.

The engine keeps what it has read in its prefix cache, so a create that begins the same way starts there. A prefill is
worth nothing once the create has come, or a newer one: then it is cancelled, and what it has read stays in the cache.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from app.channel.backend import Backend, StreamEnd
from app.generation.stream import ResponseStream
from protocol.channel.client_frames import FrameRefused, PrefillFrame
from protocol.channel.codec import FrameCodec
from protocol.errors import Fault, TwowireError
from protocol.output import Usage

log = structlog.get_logger(__name__)


class _Job:
    """One prompt that is read."""

    def __init__(self, frame: PrefillFrame) -> None:
        self.frame = frame
        self.task: asyncio.Task[None] | None = None
        self.has_begun = False
        self.is_cancelled = False

    def cancel(self) -> None:
        """End it; it answers that it was cancelled."""
        self.is_cancelled = True
        # A task that has not begun would never run, and so answer nothing.
        if self.has_begun and self.task is not None:
            self.task.cancel()


class Prefill:
    """The prefills of one connection."""

    def __init__(
        self,
        backend: Backend,
        codec: FrameCodec,
        answer: Callable[[bytes | None], None],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        *,
        is_offered: bool,
    ) -> None:
        """`answer` sends a frame, `spawn` starts a task that ends with the connection."""
        self._backend = backend
        self._codec = codec
        self._answer = answer
        self._spawn = spawn
        self._is_offered = is_offered
        self._job: _Job | None = None
        self._turn = asyncio.Lock()
        """One that was cancelled may take a moment to leave the engine."""

    def take(self, frame: PrefillFrame, *, is_draining: bool) -> None:
        """Read the frame's prompt in place of the one before. Raises `FrameRefused`."""
        if not self._is_offered:
            error = TwowireError(Fault.NOT_IMPLEMENTED, "This server does not read prompts ahead.", param="type")
            raise FrameRefused(error, None, frame.event_id)
        if is_draining:
            error = TwowireError(Fault.DRAINING, "The server is shutting down.", retry_after_s=5)
            raise FrameRefused(error, None, frame.event_id)
        self.cancel()
        if frame.body is not None:
            job = self._job = _Job(frame)
            job.task = self._spawn(self._read(job, frame.body))

    def cancel(self) -> None:
        """End what is read now, if anything is."""
        job, self._job = self._job, None
        if job is not None:
            job.cancel()

    async def _read(self, job: _Job, body: dict[str, Any]) -> None:
        job.has_begun = True
        frame, began_at = job.frame, time.monotonic()
        response: ResponseStream | None = None
        error: TwowireError | None = None
        try:
            if job.is_cancelled:
                raise asyncio.CancelledError
            async with self._turn:
                response = await self._backend.prefill(body, frame)
                try:
                    while await response.next() is not None:
                        pass
                finally:
                    await response.leave()
            answer = self._codec.prefilled(frame.event_id, response.status, response.usage)
        except asyncio.CancelledError:
            if not job.is_cancelled:
                raise  # The connection ends.
            usage = Usage() if response is None else response.usage
            answer = self._codec.prefilled(frame.event_id, "cancelled", usage)
        except TwowireError as refused:
            error = refused
            answer = self._codec.error(error, None, frame.event_id)
        except Exception:
            log.exception("channel_prefill_failed")
            error = TwowireError(Fault.INTERNAL, "The server failed; its log says why.")
            answer = self._codec.error(error, None, frame.event_id)
        if self._job is job:
            self._job = None
        self._backend.ended(StreamEnd(frame, began_at, response, error))
        self._answer(answer)
