"""A connection of OpenAI's WebSocket protocol: each lane answers its creates one after another.

Different lanes answer side by side. A refused create is also answered in its turn, so that its error cannot be taken
for that of the response before it.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import Any

import orjson

from app.channel.responses.steering import (
    Steer,
    Steering,
    SteerRefusedError,
    SuccessorFrame,
    SuccessorStream,
    required_by,
    successor,
)
from app.channel.session import Channel
from app.channel.stream import ChannelStream
from app.config.channel import ChannelLimits
from app.generation.kept_stream import KeptStream
from protocol.channel.client_frames import ClientFrame, CreateFrame, FrameRefused, OpeningFrame
from protocol.channel.responses_codec import DEFAULT_LANE, ResponsesCodec, SteerFrame
from protocol.errors import Fault, TwowireError

MAX_LANES = 32
"""How many names a connection's lanes may have, as at OpenAI."""

MAX_AGE_S = 3600.0
"""How long a connection lives, as at OpenAI."""

MAX_RETURNED_BYTES = 64 * 1024
"""Longer steering input does not come back: answers wait, by number, for a client that reads slowly."""


def limits_of_lanes(limits: ChannelLimits) -> ChannelLimits:
    """The limits of a connection. There is no heartbeat that a client could miss."""
    return replace(limits, idle_timeout_s=math.inf, max_age_s=min(limits.max_age_s, MAX_AGE_S))


class LaneChannel(Channel):
    """A channel whose `stream_id` is a lane. All lanes share the limit of running and waiting generations."""

    _codec: ResponsesCodec

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._names: set[str] = set()
        self._queues: dict[str, deque[CreateFrame | FrameRefused]] = {}
        self._waiting = 0
        self._steering = Steering()
        self._steer_events = 0

    def _dispatch(self, frame: ClientFrame | SteerFrame) -> None:
        if isinstance(frame, SteerFrame):
            self._steer(frame)
        else:
            super()._dispatch(frame)

    def _open(self, frame: OpeningFrame) -> None:
        assert isinstance(frame, CreateFrame)  # The codec makes no others.
        lane = frame.stream_id
        if self._is_full:
            message = f"{self._most} responses run or wait on this connection; no more may."
            raise FrameRefused(TwowireError(Fault.TOO_MANY_STREAMS, message, retry_after_s=1), lane)
        if lane != DEFAULT_LANE and lane not in self._names:
            if len(self._names) >= MAX_LANES:
                message = f"A connection has at most {MAX_LANES} named lanes; use one of them again."
                raise FrameRefused(TwowireError(Fault.STREAM_LIMIT_REACHED, message, param="stream_id"), lane)
            self._names.add(lane)
        if lane in self._streams:
            self._queue(lane, frame)
        else:
            self._admit(frame)

    @property
    def _most(self) -> int:
        return self._limits.max_running + self._limits.max_waiting

    @property
    def _is_full(self) -> bool:
        return len(self._streams) + self._waiting >= self._most

    def _queue(self, lane: str, entry: CreateFrame | FrameRefused) -> None:
        self._queues.setdefault(lane, deque()).append(entry)
        self._waiting += 1

    def _admit(self, frame: CreateFrame) -> None:
        if self._is_draining:
            error = TwowireError(Fault.DRAINING, "The server is shutting down.", retry_after_s=5)
            raise FrameRefused(error, frame.stream_id)
        self._begin(self._steering.joined(frame))

    def _stream_of(self, frame: OpeningFrame) -> ChannelStream:
        kind = SuccessorStream if isinstance(frame, SuccessorFrame) else ChannelStream
        return kind(frame, self._backend, self._codec, self._outbox, self.id)

    def _refuse(self, refused: FrameRefused) -> None:
        lane = refused.stream_id
        if lane is not None and lane in self._streams and not self._is_full:
            self._queue(lane, refused)
            return
        self._backend.refused(refused)
        self._answer(self._codec.error(refused.error, lane))

    def _freed(self, stream: ChannelStream) -> None:
        """Continue the response, if it was steered; start the lane's next, and answer what was refused before it."""
        self._steering.ended(stream)
        if stream.response is None and isinstance(stream.frame, SuccessorFrame):
            self._give_up(stream.frame.steers, "The response that goes on with it could not be created.")
        self._continue(stream)
        lane = stream.id
        queue = self._queues.get(lane)
        while queue and lane not in self._streams:
            entry = queue.popleft()
            self._waiting -= 1
            try:
                if isinstance(entry, FrameRefused):
                    raise entry
                self._admit(entry)
            except FrameRefused as refused:
                self._refuse(refused)
        if not queue:
            self._queues.pop(lane, None)

    # -- steering ------------------------------------------------------------------------------------------------------

    def _steer(self, frame: SteerFrame) -> None:
        try:
            steer, stream = self._steering.accept(frame, list(self._streams.values()))
        except SteerRefusedError as refused:
            given = {"previous_response_id": frame.previous_response_id} | _returned(frame.input)
            self._answer(self._codec.steer_failed(self._steer_number(), given, "", refused.code, refused.message))
            return
        self._spawn(self._accepted(steer, stream))

    async def _accepted(self, steer: Steer, stream: ChannelStream) -> None:
        """Tell the client, then end the response; it may have ended meanwhile."""
        await self._outbox.say(self._codec.steer_accepted(self._steer_number(), _known(steer), steer.lane))
        self._steering.told(steer)
        if self._streams.get(stream.id) is stream:
            assert isinstance(stream.response, KeptStream)
            if stream.response.steer():
                await stream.cancel_response(stream.response)
        else:
            self._continue(stream)

    def _continue(self, stream: ChannelStream) -> None:
        """Go on from a response that has ended, if it was steered."""
        steers = self._steering.due(stream)
        if not steers:
            return
        try:
            required = required_by(stream)
            if required:
                self._steering.wait_for_outputs(steers)
                for steer in steers:
                    number = self._steer_number()
                    self._answer(self._codec.steer_pending(number, _known(steer), steer.lane, required))
                return
            frame = successor(stream, steers)
            if stream.id in self._streams:
                self._queues.setdefault(stream.id, deque()).appendleft(frame)
                self._waiting += 1
            else:
                self._admit(frame)
        except SteerRefusedError as refused:
            self._give_up(steers, refused.message, refused.code)
        except FrameRefused as refused:
            self._give_up(steers, refused.error.message)

    def _give_up(self, steers: list[Steer], message: str, code: str = "successor_creation_failed") -> None:
        for steer in steers:
            given = _known(steer) | _returned(steer.given)
            self._answer(self._codec.steer_failed(self._steer_number(), given, steer.lane, code, message))

    def _steer_number(self) -> int:
        number, self._steer_events = self._steer_events, self._steer_events + 1
        return number


def _known(steer: Steer) -> dict[str, Any]:
    return {"id": steer.id, "previous_response_id": steer.response_id}


def _returned(given: Any) -> dict[str, Any]:
    """The `input` of steering that has failed, unless it is too long."""
    return {"input": given} if len(orjson.dumps(given)) <= MAX_RETURNED_BYTES else {}
