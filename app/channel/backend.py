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
    """A reply that has been admitted. `token` is there where it can be resumed, `rates` where there are limits."""

    reply: ResponseStream
    token: str | None = None
    last_seq: int = 0
    rates: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """What became of a channel's stream: it had a `reply`, or an `error` in its place, or was cancelled before."""

    frame: CreateFrame | ResumeFrame
    began_at: float
    reply: ResponseStream | None
    error: TwowireError | None


class Backend(Protocol):
    """What a channel needs of the server. `create` and `resume` raise `TwowireError`."""

    async def create(self, frame: CreateFrame) -> Started:
        """Check, prepare and run what the frame asks for."""

    def resume(self, frame: ResumeFrame) -> Started:
        """Find what the frame asks for."""

    def ended(self, ended: StreamEnd) -> None:
        """Told of each stream once, at its end."""

    def refused(self, refused: FrameRefused) -> None:
        """Told of each message that was answered with an error and began no stream."""
