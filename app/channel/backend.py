"""What a channel needs of the server behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from app.generation.stream import ResponseStream
from app.observability.load import Load, Watch
from protocol.channel.client_frames import (
    CreateFrame,
    FollowFrame,
    FrameRefused,
    OpeningFrame,
    PrefillFrame,
    ResumeFrame,
)
from protocol.errors import TwowireError


@dataclass(frozen=True, slots=True)
class Started:
    """An admitted stream. The tokens are set if it can be resumed and followed, `rates` if there are limits."""

    response: ResponseStream
    token: str | None = None
    last_seq: int = 0
    rates: Sequence[Mapping[str, Any]] = ()
    follow_token: str | None = None


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """How a stream or a prefill ended: with a `response`, or an `error` in its place, or cancelled before either."""

    frame: OpeningFrame | PrefillFrame
    began_at: float
    response: ResponseStream | None
    error: TwowireError | None


class Backend(Protocol):
    """What a channel needs of the server. `create`, `resume`, `follow` and `prefill` raise `TwowireError`."""

    async def create(self, frame: CreateFrame) -> Started:
        """Check, prepare and run the frame's request."""

    async def resume(self, frame: ResumeFrame) -> Started:
        """Find the generation that the frame names."""

    async def follow(self, frame: FollowFrame) -> Started:
        """Follow the generation that the frame names, next to its own reader."""

    async def prefill(self, body: Mapping[str, Any], frame: PrefillFrame) -> ResponseStream:
        """Have the prompt of the frame's `body` read. The stream is to be read to its end, and left."""

    def watch_load(self, push: Callable[[Load], None], interval_s: float) -> Watch:
        """Call `push` with what the connection may know of the server's load, at once and every `interval_s` seconds.

        Raises `TwowireError` (403, 429).
        """

    def error_body(self, frame: OpeningFrame | None, error: TwowireError) -> bytes:
        """`error` in the form of the API that the frame's stream belongs to; without a frame, of the connection's."""

    def ended(self, ended: StreamEnd) -> None:
        """Log and count a stream; called once, at its end."""

    def refused(self, refused: FrameRefused) -> None:
        """Log and count a message that was answered with an error and started no stream."""
