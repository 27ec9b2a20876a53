"""A connection of OpenAI's WebSocket protocol: each lane answers its creates one after another.

Different lanes answer side by side. A refused create is also answered in its turn, so that its error cannot be taken
for that of the response before it.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import Any

from app.channel.session import Channel
from app.config.channel import ChannelLimits
from protocol.channel.client_frames import ClientFrame, CreateFrame, FrameRefused, OpeningFrame
from protocol.channel.responses_codec import DEFAULT_LANE, ResponsesCodec, SteerFrame
from protocol.errors import Fault, TwowireError

MAX_LANES = 32
"""How many names a connection's lanes may have, as at OpenAI."""

MAX_AGE_S = 3600.0
"""How long a connection lives, as at OpenAI."""


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

    def _dispatch(self, frame: ClientFrame | SteerFrame) -> None:
        if isinstance(frame, SteerFrame):
            self._answer(self._codec.steer_failed(frame))
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
        self._begin(frame)

    def _refuse(self, refused: FrameRefused) -> None:
        lane = refused.stream_id
        if lane is not None and lane in self._streams and not self._is_full:
            self._queue(lane, refused)
            return
        self._backend.refused(refused)
        self._answer(self._codec.error(refused.error, lane))

    def _freed(self, stream_id: str) -> None:
        """Start the lane's next response, and answer what was refused before it."""
        queue = self._queues.get(stream_id)
        while queue and stream_id not in self._streams:
            entry = queue.popleft()
            self._waiting -= 1
            try:
                if isinstance(entry, FrameRefused):
                    raise entry
                self._admit(entry)
            except FrameRefused as refused:
                self._refuse(refused)
        if not queue:
            self._queues.pop(stream_id, None)
