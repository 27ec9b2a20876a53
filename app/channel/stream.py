"""One stream of a channel: admitted, its chunks sent as frames, and counted once when it ends."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable

import structlog

from app.channel.backend import Backend, StreamEnd
from app.channel.outbox import Outbox
from app.generation.fast_path import FrameSender
from app.generation.stream import ResponseStream
from protocol.channel.client_frames import CreateFrame, FollowFrame, OpeningFrame
from protocol.channel.codec import FrameCodec
from protocol.errors import Fault, TwowireError
from protocol.output import Usage

log = structlog.get_logger(__name__)


class ChannelStream:
    """A `stream_id` in use: what was asked, the task that serves it, and its response once there is one."""

    def __init__(
        self, frame: OpeningFrame, backend: Backend, codec: FrameCodec, outbox: Outbox, connection_id: str
    ) -> None:
        self.id = frame.stream_id
        self.task: asyncio.Task[None] | None = None
        self.response: ResponseStream | None = None
        self.is_cancelled = False
        self.is_preparing = False
        self.has_turn = False
        self.frame = frame
        self._began_at = time.monotonic()
        self._is_counted = False
        self._backend = backend
        self._codec = codec
        self._outbox = outbox
        self._connection_id = connection_id

    @property
    def is_void(self) -> bool:
        """Cancelled before anything was made. (What a resume asks for has been made, and must be cancelled.)"""
        return self.is_cancelled and self.response is None and isinstance(self.frame, CreateFrame)

    async def run(self) -> bytes | None:
        """Start the generation, or find it, and send its chunks. Returns the terminal frame.

        Raises what ends the stream with nothing but an error: it was refused, or another reader took over.
        """
        codec, frame = self._codec, self.frame
        self.has_turn = True
        if isinstance(frame, CreateFrame):
            started = await self._backend.create(frame)
            opening = codec.created(
                self.id, frame.event_id, started.response.id, started.token, started.rates, started.follow_token
            )
        else:
            backend = self._backend
            started = await (backend.follow(frame) if isinstance(frame, FollowFrame) else backend.resume(frame))
            first = started.response.seq + 1
            opening = codec.resumed(self.id, frame.event_id, first, started.last_seq)
        response = self.response = started.response
        try:
            if self.is_cancelled:
                await response.cancel()
            if opening is not None:
                await self._outbox.say(opening)
            await self._send_chunks(response)
        except Exception as error:
            failure = self.failure_of(error)
            if failure.fault is Fault.TAKEN_OVER:
                raise  # It goes on elsewhere; the error is all that this stream still says.
            for failed in codec.failed(failure, response.error_events(failure), self.id, frame.event_id):
                await self._outbox.say(failed)
            return codec.done(self.id, response.seq, "failed", response.usage)
        finally:
            await response.leave()
        return codec.done(self.id, response.seq, response.status, response.usage)

    async def _send_chunks(self, response: ResponseStream) -> None:
        codec, say = self._codec, self._outbox.say
        head = codec.chunk_head(self.id)
        text_frame = functools.partial(codec.text_frame, self.id)
        sender = FrameSender(self._outbox.write, text_frame) if self._outbox.can_write else None
        while (chunks := await response.next(sender)) is not None:
            for seq, chunk in enumerate(chunks, response.seq - len(chunks) + 1):
                await say(codec.chunk(head, seq, chunk))

    def void_end(self) -> bytes | None:
        """The terminal frame of a stream that is void."""
        return self._codec.done(self.id, 0, "cancelled", Usage())

    def error_end(self, error: TwowireError) -> bytes | None:
        """The terminal frame of a stream that ends with nothing but an error."""
        body = self._backend.error_body(self.frame, error)
        return self._codec.error(error, self.id, self.frame.event_id, body)

    def failure_of(self, error: Exception) -> TwowireError:
        """The error to send to the client for `error`; an unforeseen one is logged."""
        if isinstance(error, TwowireError):
            return error
        log.error("channel_stream_failed", connection=self._connection_id, exc_info=error)
        return TwowireError(Fault.INTERNAL, "The server failed; its log says why.")

    def cancel(self, spawn: Callable[[Awaitable[None]], asyncio.Task[None]]) -> None:
        """Cancel the generation, in a task that `spawn` makes, or what is done before there is one."""
        self.is_cancelled = True
        if self.response is not None:
            spawn(self.cancel_response(self.response))
        elif self.is_preparing and self.is_void and self.task is not None:
            # It waits for its place or is being prepared. (If cancelled, a task that has not begun would never run, and
            # one that sends its terminal frame would not send it; both check for themselves.)
            self.task.cancel()

    async def cancel_response(self, response: ResponseStream) -> None:
        """Cancel the generation. Does not raise: the connection's other streams go on."""
        try:
            await response.cancel()
        except Exception:
            # The response itself ends with the engine's error.
            log.exception("channel_cancel_failed", connection=self._connection_id)

    def count_end(self, error: TwowireError | None = None) -> None:
        """Report the end to the backend, once."""
        if not self._is_counted:
            self._is_counted = True
            self._backend.ended(StreamEnd(self.frame, self._began_at, self.response, error))
