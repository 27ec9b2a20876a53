"""What a channel needs of the server behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from app.generation.stream import ResponseStream
from protocol.channel.client_frames import CreateFrame, FrameRefused, ResumeFrame
from protocol.errors import TwowireError


@dataclass(frozen=True, slots=True)
class Started:
    """An admitted stream. `token` is set if it can be resumed, `rates` if there are limits."""

    response: ResponseStream
    token: str | None = None
    last_seq: int = 0
    rates: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """How a channel's stream ended: with a `response`, or an `error` in its place, or cancelled before either."""

    frame: CreateFrame | ResumeFrame
    began_at: float
    response: ResponseStream | None
    error: TwowireError | None


class Backend(Protocol):
    """What a channel needs of the server. `create` and `resume` raise `TwowireError`."""

    async def create(self, frame: CreateFrame) -> Started:
        """Check, prepare and run the frame's request."""

    async def resume(self, frame: ResumeFrame) -> Started:
        """Find the generation that the frame names."""

    def error_body(self, frame: CreateFrame | ResumeFrame, error: TwowireError) -> bytes:
        """`error` in the form of the API that the frame's stream belongs to."""

    def ended(self, ended: StreamEnd) -> None:
        """Log and count a stream; called once, at its end."""

    def refused(self, refused: FrameRefused) -> None:
        """Log and count a message that was answered with an error and started no stream."""
