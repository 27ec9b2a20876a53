"""One channel: frames in, frames out, many generations side by side.

It is given a way to send, and told what was received. `receive` only parses and dispatches; every stream has a task
that pulls its own response and sends it, so that a busy socket makes the engine's steps merge instead of a queue grow.
What a client may rely on is in `docs/websocket.md`.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import structlog

from app.channel.backend import Backend
from app.channel.heartbeat import Goodbye, Heartbeat
from app.channel.limits import (
    DRAINING,
    GOING_AWAY,
    LEFT,
    MESSAGE_TOO_BIG,
    PROTOCOL_ABUSE,
    SERVER_FAULT,
    TAKEN_OVER,
    Allowance,
    Closing,
    is_larger,
)
from app.channel.load_feed import LoadFeed
from app.channel.outbox import Outbox
from app.channel.prefill import Prefill
from app.channel.stream import ChannelStream
from app.channel.tasks import Tasks
from app.config.channel import ChannelLimits
from protocol.channel.client_frames import (
    CancelFrame,
    ClientFrame,
    CreateFrame,
    FrameRefused,
    OpeningFrame,
    PingFrame,
    PongFrame,
    PrefillFrame,
    StatsFrame,
)
from protocol.channel.codec import FrameCodec
from protocol.errors import Fault, TwowireError

log = structlog.get_logger(__name__)

MAX_ANSWERS = 256
"""Errors, pongs and the like that may wait for a busy socket; a client that causes more without reading is cut off."""
PARSED_ASIDE_CHARS = 64 * 1024
"""Messages of this size and more are parsed in a thread: a hostile one of 8 MiB keeps a core busy for a second."""


class Channel:
    """Call `start`, then `receive` for each message. `ended` says when and why to close; call `close` in any case."""

    def __init__(
        self,
        connection_id: str,
        backend: Backend,
        codec: FrameCodec,
        send: Callable[[bytes], Awaitable[None]],
        limits: ChannelLimits,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[bytes], bool] | None = None,
        parse_aside: Callable[..., Awaitable[Any]] = asyncio.to_thread,
    ) -> None:
        """`parse_aside` runs a function in another thread; it parses large messages.

        `write` sends a frame at once or returns False: the socket's fast path, if it has one.
        """
        loop = asyncio.get_running_loop()
        self.id = connection_id
        self.ended: asyncio.Future[Closing] = loop.create_future()
        self._backend = backend
        self._codec = codec
        self._limits = limits
        self._clock = clock
        self._parse_aside = parse_aside
        self._streams: dict[str, ChannelStream] = {}
        self._refused: set[str] = set()
        """Names of refused streams; not free until the client can know of the refusal."""
        self._places = asyncio.Semaphore(limits.max_running)
        self._tasks = Tasks(self._failed)
        self._spawn = self._tasks.spawn
        self._outbox = Outbox(send, clock, write)
        self._answering: asyncio.Task[None] | None = None
        self._prefill = Prefill(backend, codec, self._answer, self._spawn, is_offered=limits.max_prefills > 0)
        self._load_feed = LoadFeed(backend, codec, self._streams, self._answer)
        now = clock()
        self._heartbeat = Heartbeat(limits, now)
        self._allowance = Allowance(limits.max_messages_per_s, now)
        self._is_draining = False
        self._closing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def stream_count(self) -> int:
        """Streams without a terminal frame yet."""
        return len(self._streams)

    def start(self) -> None:
        """Send the first frame, and start the heartbeat."""
        self._answer(self._codec.ready(self.id, asdict(self._limits)))
        self._tick()

    # -- in ------------------------------------------------------------------------------------------------------------

    async def receive(self, message: str | bytes | None) -> None:
        """Handle one message, without waiting for engine or socket. A bad one is answered, or ends the channel."""
        if self.ended.done():
            return
        now = self._heartbeat.heard_at = self._clock()
        if not self._allowance.take(now):
            self._end(Closing(PROTOCOL_ABUSE, f"more than {self._limits.max_messages_per_s} messages a second"))
            return
        if is_larger(message, self._limits.max_message_bytes):
            self._end(Closing(MESSAGE_TOO_BIG, f"a message of more than {self._limits.max_message_bytes} bytes"))
            return
        try:
            if isinstance(message, str) and len(message) >= PARSED_ASIDE_CHARS:
                frame = await self._parse_aside(self._codec.decode, message)
                if self.ended.done():
                    return
            else:
                frame = self._codec.decode(message)
            self._dispatch(frame)
        except FrameRefused as refused:
            self._refuse(refused)

    def _refuse(self, refused: FrameRefused) -> None:
        self._backend.refused(refused)
        name, error, event_id = refused.stream_id, refused.error, refused.event_id
        if name is None or name in self._streams or name in self._refused:
            # Without the name of a stream that goes on: it would seem to have ended.
            self._answer(self._codec.error(error, None, event_id))
            return
        self._refused.add(name)
        body = self._backend.error_body(refused.frame, error)
        self._answer(self._codec.error(error, name, event_id, body), functools.partial(self._refused.discard, name))

    def _dispatch(self, frame: ClientFrame) -> None:
        if not isinstance(frame, PingFrame | PongFrame):
            self._heartbeat.used_at = self._heartbeat.heard_at
        if isinstance(frame, OpeningFrame):
            self._open(frame)
        elif isinstance(frame, CancelFrame):
            self._cancel(frame)
        elif isinstance(frame, PrefillFrame):
            self._prefill.take(frame, is_draining=self._is_draining)
        elif isinstance(frame, StatsFrame):
            self._load_feed.take(frame)
        elif isinstance(frame, PingFrame):
            self._answer(self._codec.pong(frame.t))

    def _open(self, frame: OpeningFrame) -> None:
        limit = self._limits.max_running + self._limits.max_waiting
        error = None
        if frame.stream_id in self._streams or frame.stream_id in self._refused:
            error = TwowireError(Fault.INVALID_VALUE, "stream_id names a running stream.", param="stream_id")
        elif len(self._streams) >= limit:
            message = f"{limit} streams are open on this connection, the maximum."
            error = TwowireError(Fault.TOO_MANY_STREAMS, message, retry_after_s=1)
        elif self._is_draining and isinstance(frame, CreateFrame):
            # A resume adds no work: it may save what runs already.
            error = TwowireError(Fault.DRAINING, "The server is shutting down.", retry_after_s=5)
        if error is not None:
            raise FrameRefused(error, frame.stream_id, frame.event_id, frame)
        self._begin(frame)

    def _begin(self, frame: OpeningFrame) -> None:
        if isinstance(frame, CreateFrame):
            # What it has read until now is in the cache.
            self._prefill.cancel()
        stream = self._streams[frame.stream_id] = self._stream_of(frame)
        stream.task = self._spawn(self._serve(stream))

    def _stream_of(self, frame: OpeningFrame) -> ChannelStream:
        return ChannelStream(frame, self._backend, self._codec, self._outbox, self.id)

    def _cancel(self, frame: CancelFrame) -> None:
        stream = self._streams.get(frame.stream_id)
        if stream is None or stream.is_cancelled:
            error = TwowireError(Fault.STREAM_NOT_FOUND, "No stream with that id is running.", param="stream_id")
            raise FrameRefused(error, None, frame.event_id)
        stream.cancel(self._spawn)

    # -- streams -------------------------------------------------------------------------------------------------------

    async def _serve(self, stream: ChannelStream) -> None:
        """Serve one stream, from its admission to its one terminal frame."""
        error: TwowireError | None = None
        stream.is_preparing = True
        try:
            if stream.is_void:
                raise asyncio.CancelledError
            async with self._places:
                terminal = await stream.run()
        except asyncio.CancelledError:
            if self._closing is not None or not stream.is_void:
                raise  # The connection ends.
            terminal = stream.void_end()
        except Exception as failure:
            error = stream.failure_of(failure)
            terminal = stream.error_end(error)
        stream.is_preparing = False
        stream.count_end(error)
        async with self._outbox.turn:
            # The id is free once the client can know: whatever a new stream of that name sends comes after this.
            del self._streams[stream.id]
            self._heartbeat.used_at = self._clock()
            if terminal is not None:
                await self._outbox.send(terminal)
        if error is not None and error.fault is Fault.TAKEN_OVER and not self._streams:
            self._end(Closing(TAKEN_OVER, "another reader took over"))
        self._freed(stream)
        if self._is_draining:
            self._end_if_idle()

    def _freed(self, stream: ChannelStream) -> None:
        """Called once the client can know that the stream has ended."""

    def _answer(self, frame: bytes | None, tell: Callable[[], None] | None = None) -> None:
        """Send a frame that belongs to no stream's task as soon as the socket takes it; None: the codec has none."""
        if frame is None:
            return
        if self._outbox.answers >= MAX_ANSWERS:
            self._end(Closing(PROTOCOL_ABUSE, f"more than {MAX_ANSWERS} answers were left unread"))
            return
        self._outbox.keep(frame, tell)
        if self._answering is None or self._answering.done():
            self._answering = self._spawn(self._outbox.send_answers())

    # -- the end -------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Check the connection's time limits, every so often."""
        if self.ended.done():
            return
        due = self._heartbeat.check(self._clock(), self._outbox.stuck_s, has_streams=bool(self._streams))
        if isinstance(due, Closing):
            self._end(due)
        elif isinstance(due, Goodbye):
            self._answer(self._codec.error(due.error))
            self._spawn(self._end_after_answers(Closing(GOING_AWAY, due.reason)))
            return
        elif due is not None:
            self._answer(self._codec.ping(due.t))
        self._timer = asyncio.get_running_loop().call_later(self._heartbeat.interval_s, self._tick)

    async def _end_after_answers(self, closing: Closing) -> None:
        if self._answering is not None and not self._answering.done():
            await asyncio.wait({self._answering}, timeout=self._limits.send_timeout_s)
        self._end(closing)

    def drain(self) -> None:
        """Refuse new generations; end when the last stream has ended."""
        self._is_draining = True
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        closing = Closing(DRAINING, "the server is draining, come back")
        if not self._streams and self._outbox.answers:
            self._spawn(self._end_after_answers(closing))
        elif not self._streams:
            self._end(closing)

    def _end(self, closing: Closing) -> None:
        if not self.ended.done():
            self.ended.set_result(closing)

    def _failed(self, error: BaseException) -> None:
        # A failed send: the socket is gone, or about to be.
        log.debug("channel_task_failed", connection=self.id, error=repr(error))
        self._end(Closing(SERVER_FAULT, "the connection failed"))

    async def close(self) -> None:
        """Leave every stream and end every task; nothing more is sent. May be called twice."""
        if self._closing is None:
            self._end(LEFT)
            self._closing = asyncio.create_task(self._close())
        # The caller may be cancelled; cancelling the tasks again could interrupt their clean-up in the engine.
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._load_feed.stop()
        if self._timer is not None:
            self._timer.cancel()
        await self._tasks.cancel()
        for stream in self._streams.values():
            stream.count_end()
        self._streams.clear()
