"""One channel: frames in, frames out, many generations side by side.

Does not know the web framework or the socket: it is given a way to send, and told what was received. What a client may
rely on is in `docs/websocket.md`. `receive` only parses and dispatches; every stream has a task that pulls its own
reply and sends it, so that a busy socket makes the engine's steps merge instead of a queue grow.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import structlog

from app.channel.backend import Backend, StreamEnd
from app.channel.limits import (
    DRAINING,
    GOING_AWAY,
    HEARTBEAT_MISSED,
    LEFT,
    MESSAGE_TOO_BIG,
    PROTOCOL_ABUSE,
    SERVER_FAULT,
    TAKEN_OVER,
    Allowance,
    ChannelLimits,
    Closing,
    is_larger,
)
from app.channel.outbox import Outbox
from app.generation.fast_path import FrameSender
from app.generation.stream import ResponseStream
from protocol.channel import server_frames
from protocol.channel.client_frames import (
    CancelFrame,
    ClientFrame,
    CreateFrame,
    FrameRefused,
    PingFrame,
    PongFrame,
    ResumeFrame,
    parse_frame,
)
from protocol.errors import Fault, TwowireError
from protocol.output import Usage

log = structlog.get_logger(__name__)

MAX_ANSWERS = 256
"""Errors, pongs and the like that may wait for a busy socket: a client that makes more without reading is cut off."""

PARSED_ASIDE_CHARS = 64 * 1024
"""A message from this size on is parsed in a thread: a hostile one of 8 MiB keeps a core busy for a second."""


class _Stream:
    """One `stream_id` in use: what was asked, the task that serves it, and its reply once there is one."""

    def __init__(self, frame: CreateFrame | ResumeFrame) -> None:
        self.id = frame.stream_id
        self.event_id = frame.event_id
        self.frame = frame
        self.began_at = time.monotonic()
        self.reply: ResponseStream | None = None
        self.is_cancelled = False
        self.is_told = False
        self.is_preparing = False
        self.task: asyncio.Task[None] | None = None

    @property
    def is_void(self) -> bool:
        """It was cancelled before anything was made. (What a resume asks for has been made; it must be cancelled.)"""
        return self.is_cancelled and self.reply is None and isinstance(self.frame, CreateFrame)


class Channel:
    """Use: `start`, then `receive` for each message; `ended` tells when and why to close; `close` in any case."""

    def __init__(
        self,
        connection_id: str,
        backend: Backend,
        send: Callable[[bytes], Awaitable[None]],
        limits: ChannelLimits,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[bytes], bool] | None = None,
        parse_aside: Callable[..., Awaitable[Any]] = asyncio.to_thread,
    ) -> None:
        """`parse_aside` runs a function beside the event loop: large messages are parsed by it."""
        loop = asyncio.get_running_loop()
        self.id = connection_id
        self.ended: asyncio.Future[Closing] = loop.create_future()
        self._backend = backend
        self._limits = limits
        self._clock = clock
        self._parse_aside = parse_aside
        self._streams: dict[str, _Stream] = {}
        self._refused: set[str] = set()
        """The streams that will not be, until the client can know of it: till then their names are not free."""
        self._places = asyncio.Semaphore(limits.max_running)
        self._tasks: set[asyncio.Task[None]] = set()
        self._outbox = Outbox(send, clock, write)
        self._answering: asyncio.Task[None] | None = None
        self._opened_at = self._heard_at = self._pinged_at = self._used_at = clock()
        self._allowance = Allowance(limits.max_messages_per_s, self._opened_at)
        self._is_draining = False
        self._closing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def stream_count(self) -> int:
        """Streams that have not had their terminal frame."""
        return len(self._streams)

    def start(self) -> None:
        """Say that the connection is ready, and begin to watch it."""
        self._answer(server_frames.ready(self.id, asdict(self._limits)))
        self._tick()

    # -- in ------------------------------------------------------------------------------------------------------------

    async def receive(self, message: str | bytes | None) -> None:
        """Take in one message. Waits for no engine and no socket; what is wrong is answered, or ends the channel."""
        if self.ended.done():
            return
        self._heard_at = self._clock()
        if not self._allowance.take(self._heard_at):
            self._end(PROTOCOL_ABUSE, f"more than {self._limits.max_messages_per_s} messages a second")
            return
        if is_larger(message, self._limits.max_message_bytes):
            self._end(MESSAGE_TOO_BIG, f"a message of more than {self._limits.max_message_bytes} bytes")
            return
        try:
            if isinstance(message, str) and len(message) >= PARSED_ASIDE_CHARS:
                frame = await self._parse_aside(parse_frame, message)
                if self.ended.done():
                    return
            else:
                frame = parse_frame(message)
            self._dispatch(frame)
        except FrameRefused as refused:
            self._refuse(refused)

    def _refuse(self, refused: FrameRefused) -> None:
        self._backend.refused(refused)
        name, error, event_id = refused.stream_id, refused.error, refused.event_id
        if name is None or name in self._streams or name in self._refused:
            # Not in the name of a stream that goes on, which would seem to have ended.
            self._answer(server_frames.error(error, None, event_id))
        else:
            self._refused.add(name)
            self._answer(server_frames.error(error, name, event_id), functools.partial(self._refused.discard, name))

    def _dispatch(self, frame: ClientFrame) -> None:
        if not isinstance(frame, PingFrame | PongFrame):
            self._used_at = self._heard_at
        if isinstance(frame, CreateFrame | ResumeFrame):
            self._open(frame)
        elif isinstance(frame, CancelFrame):
            self._cancel(frame)
        elif isinstance(frame, PingFrame):
            self._answer(server_frames.pong(frame.t))

    def _open(self, frame: CreateFrame | ResumeFrame) -> None:
        limit = self._limits.max_running + self._limits.max_waiting
        error = None
        if frame.stream_id in self._streams or frame.stream_id in self._refused:
            error = TwowireError(Fault.INVALID_VALUE, "stream_id names a stream that still runs.", param="stream_id")
        elif len(self._streams) >= limit:
            message = f"{limit} streams are open on this connection; no more may be."
            error = TwowireError(Fault.TOO_MANY_STREAMS, message, retry_after_s=1)
        elif self._is_draining and isinstance(frame, CreateFrame):
            # A resume adds no work: it may save what runs already.
            error = TwowireError(Fault.DRAINING, "The server is shutting down.", retry_after_s=5)
        if error is not None:
            raise FrameRefused(error, frame.stream_id, frame.event_id)
        stream = self._streams[frame.stream_id] = _Stream(frame)
        stream.task = self._spawn(self._serve(stream))

    def _cancel(self, frame: CancelFrame) -> None:
        stream = self._streams.get(frame.stream_id)
        if stream is None or stream.is_cancelled:
            error = TwowireError(Fault.STREAM_NOT_FOUND, "No stream of that id is running.", param="stream_id")
            raise FrameRefused(error, None, frame.event_id)
        stream.is_cancelled = True
        if stream.reply is not None:
            self._spawn(self._cancel_reply(stream.reply))
        elif stream.is_preparing and stream.is_void and stream.task is not None:
            # It waits for its place or is being prepared. (A task that has not begun would never run, and one that
            # sends its terminal frame would not send it; they look themselves.)
            stream.task.cancel()

    async def _cancel_reply(self, reply: ResponseStream) -> None:
        try:
            await reply.cancel()
        except Exception:
            # The others on this connection are not to suffer; the reply itself ends with what the engine says.
            log.exception("channel_cancel_failed", connection=self.id)

    # -- streams -------------------------------------------------------------------------------------------------------

    async def _serve(self, stream: _Stream) -> None:
        """One stream from its admission to its one terminal frame."""
        error: TwowireError | None = None
        stream.is_preparing = True
        try:
            if stream.is_void:
                raise asyncio.CancelledError
            async with self._places:
                terminal = await self._run(stream)
        except asyncio.CancelledError:
            if self._closing is not None or not stream.is_void:
                raise  # The connection ends.
            terminal = server_frames.done(stream.id, 0, "cancelled", Usage())
        except Exception as refused:
            error = self._fault(refused)
        stream.is_preparing = False
        self._tell(stream, error)
        if error is not None:
            terminal = server_frames.error(error, stream.id, stream.event_id)
        async with self._outbox.turn:
            # The id is free once the client can know of it: whatever a new stream of that name sends comes after this.
            del self._streams[stream.id]
            self._used_at = self._clock()
            await self._outbox.send(terminal)
        if error is not None and error.fault is Fault.TAKEN_OVER and not self._streams:
            self._end(TAKEN_OVER, "another reader took over")
        if self._is_draining:
            self._end_if_idle()

    def _tell(self, stream: _Stream, error: TwowireError | None = None) -> None:
        """Have its end counted, once."""
        if not stream.is_told:
            stream.is_told = True
            self._backend.ended(StreamEnd(stream.frame, stream.began_at, stream.reply, error))

    async def _run(self, stream: _Stream) -> bytes:
        """Serve an admitted stream; returns its terminal frame."""
        if isinstance(stream.frame, CreateFrame):
            started = await self._backend.create(stream.frame)
            opening = server_frames.created(stream.id, stream.event_id, started.reply.id, started.token, started.rates)
        else:
            started = self._backend.resume(stream.frame)
            first = started.reply.seq + 1
            opening = server_frames.resumed(stream.id, stream.event_id, first, started.last_seq)
        reply = stream.reply = started.reply
        try:
            if stream.is_cancelled:
                await reply.cancel()
            await self._outbox.say(opening)
            await self._send_chunks(stream.id, reply)
        except Exception as error:
            failure = self._fault(error)
            if failure.fault is Fault.TAKEN_OVER:
                raise  # It goes on elsewhere; the error is all that this stream still says.
            await self._outbox.say(server_frames.error(failure, stream.id, stream.event_id))
            return server_frames.done(stream.id, reply.seq, "failed", reply.usage)
        finally:
            await reply.leave()
        return server_frames.done(stream.id, reply.seq, reply.status, reply.usage)

    def _fault(self, error: Exception) -> TwowireError:
        """What the client is told of `error`."""
        if isinstance(error, TwowireError):
            return error
        log.error("channel_stream_failed", connection=self.id, exc_info=error)
        return TwowireError(Fault.INTERNAL, "The server failed; its log says why.")

    async def _send_chunks(self, stream_id: str, reply: ResponseStream) -> None:
        head = server_frames.chunk_head(stream_id)
        around = reply.text_template if self._outbox.can_write else None
        sender = FrameSender(self._outbox, stream_id, around) if around is not None else None
        while (chunks := await reply.next(sender)) is not None:
            for seq, chunk in enumerate(chunks, reply.seq - len(chunks) + 1):
                await self._outbox.say(server_frames.chunk(head, seq, chunk))

    def _answer(self, frame: bytes, tell: Callable[[], None] | None = None) -> None:
        """Send a frame that belongs to no stream's task, as soon as the socket takes it."""
        if self._outbox.answers >= MAX_ANSWERS:
            self._end(PROTOCOL_ABUSE, f"more than {MAX_ANSWERS} answers were left unread")
            return
        self._outbox.keep(frame, tell)
        if self._answering is None or self._answering.done():
            self._answering = self._spawn(self._outbox.send_answers())

    # -- watching ------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Look after the connection's deadlines, a few times per shortest of them."""
        limits, now = self._limits, self._clock()
        if self.ended.done():
            return
        if self._outbox.stuck_s >= limits.send_timeout_s:
            self._end(SERVER_FAULT, "the client does not read", is_stuck=True)
        elif now - self._heard_at >= limits.idle_timeout_s:
            self._end(HEARTBEAT_MISSED, f"nothing was heard for {limits.idle_timeout_s:g} s")
        elif now - self._opened_at >= limits.max_age_s:
            error = TwowireError(Fault.CONNECTION_TOO_OLD, f"The connection is {limits.max_age_s:g} s old; come back.")
            self._leave(error, "the connection's age limit")
            return
        elif not self._streams and now - self._used_at >= limits.unused_timeout_s:
            message = f"Nothing was asked for in {limits.unused_timeout_s:g} s; come back when there is."
            self._leave(TwowireError(Fault.CONNECTION_UNUSED, message), "the connection was not used")
            return
        elif now - self._pinged_at >= limits.ping_interval_s:
            self._pinged_at = now
            self._answer(server_frames.ping(round(now - self._opened_at, 3)))
        shortest = min(limits.send_timeout_s, limits.ping_interval_s, limits.idle_timeout_s, limits.max_age_s)
        delay_s = min(shortest, limits.unused_timeout_s) / 4
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._tick)

    def _leave(self, error: TwowireError, reason: str) -> None:
        self._answer(server_frames.error(error))
        self._spawn(self._end_after_answers(GOING_AWAY, reason))

    async def _end_after_answers(self, code: int, reason: str) -> None:
        if self._answering is not None:
            await asyncio.wait({self._answering}, timeout=self._limits.send_timeout_s)
        self._end(code, reason)

    def drain(self) -> None:
        """Refuse new generations; end once the last stream has ended."""
        self._is_draining = True
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if not self._streams:
            self._end(DRAINING, "the server is draining, come back")

    def _end(self, code: int, reason: str, *, is_stuck: bool = False) -> None:
        if not self.ended.done():
            self.ended.set_result(Closing(code, reason, is_stuck))

    def _spawn(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # A send that fails: the socket is gone, or about to be.
            log.debug("channel_task_failed", connection=self.id, error=repr(error))
            self._end(SERVER_FAULT, "the connection failed")

    async def close(self) -> None:
        """Leave every reply and end every task. Nothing is sent any more. May be called twice."""
        if self._closing is None:
            self._end(LEFT.code, LEFT.reason)
            self._closing = asyncio.create_task(self._close())
        # Whoever called may be cancelled; a second cancel of the tasks could cut short how they leave the engine.
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stream in self._streams.values():
            self._tell(stream)
        self._streams.clear()
