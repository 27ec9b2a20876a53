"""The frames that a client may send on the channel, parsed. The specification is `docs/websocket.md`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, ValidationError

from protocol.errors import Fault, TwowireError
from protocol.validation.parse import parse_json_object, refusal_of
from protocol.validation.request import RequestPart, whole

SUBPROTOCOL = "twowire.v1"
TICKET_PREFIX = "twowire.ticket."

StreamId = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9_.\-]+$")]
EventId = Annotated[str, Field(max_length=256)]


class ResumeOptions(RequestPart):
    """The resume options of a create."""

    grace_s: float = Field(gt=0, le=86_400, description="Seconds that the generation may run on without a reader.")


class TracedFrame(RequestPart):
    """The caller's trace: W3C Trace Context, as in the HTTP headers of these names."""

    traceparent: Annotated[str, Field(max_length=256)] | None = None
    tracestate: Annotated[str, Field(max_length=1024)] | None = None

    @property
    def trace_context(self) -> dict[str, str]:
        """The trace as headers; empty if the frame names none."""
        if self.traceparent is None:
            return {}
        state = {} if self.tracestate is None else {"tracestate": self.tracestate}
        return {"traceparent": self.traceparent, **state}


class CreateFrame(TracedFrame):
    """Start a generation."""

    type: Literal["chat.completion.create"]
    stream_id: StreamId
    event_id: EventId | None = None
    api: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="The API whose request `body` is; that of the connection's path without it."
    )
    body: dict[str, Any] = Field(description="The body of that API's `POST`; `stream` is implied.")
    resume: ResumeOptions | None = None
    timeout_s: float | None = Field(default=None, gt=0, description="Seconds that the generation may take.")


class CancelFrame(RequestPart):
    """End a running generation."""

    type: Literal["chat.completion.cancel"]
    stream_id: StreamId
    event_id: EventId | None = None


class ResumeFrame(TracedFrame):
    """Resume a generation that lost its socket."""

    type: Literal["chat.completion.resume"]
    stream_id: StreamId
    event_id: EventId | None = None
    id: Annotated[str, Field(max_length=256)]
    resume_token: Annotated[str, Field(max_length=256)]
    starting_after: Annotated[int, Field(ge=0, le=2**53), BeforeValidator(whole)] = 0


class FollowFrame(TracedFrame):
    """Follow somebody else's generation."""

    type: Literal["chat.completion.follow"]
    stream_id: StreamId
    event_id: EventId | None = None
    id: Annotated[str, Field(max_length=256)]
    follow_token: Annotated[str, Field(max_length=256)]
    starting_after: Annotated[int, Field(ge=0, le=2**53), BeforeValidator(whole)] = 0


class PingFrame(RequestPart):
    """Asks for a pong with the same `t`."""

    type: Literal["ping"]
    event_id: EventId | None = None
    t: Annotated[str, Field(max_length=64)] | int | float | None = None


class PongFrame(RequestPart):
    """The answer to the server's ping."""

    type: Literal["pong"]
    event_id: EventId | None = None


class StatsSubscribeFrame(RequestPart):
    """Send the server's load from now on."""

    type: Literal["server.stats.subscribe"]
    event_id: EventId | None = None
    interval_s: float = Field(default=1.0, ge=1, le=60, description="Seconds from one report to the next.")


class StatsUnsubscribeFrame(RequestPart):
    """Send it no more."""

    type: Literal["server.stats.unsubscribe"]
    event_id: EventId | None = None


class PrefillFrame(TracedFrame):
    """Read the prompt of a request that may come, so that its answer begins sooner."""

    type: Literal["chat.completion.prefill"]
    event_id: EventId | None = None
    api: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="The API whose request `body` is; that of the connection's path without it."
    )
    body: dict[str, Any] | None = Field(
        default=None, description="The body of that API's `POST`, as far as it is known. Without it, reading ends."
    )

    @property
    def stream_id(self) -> None:
        """It starts no stream."""
        return None


OpeningFrame = CreateFrame | ResumeFrame | FollowFrame
"""A frame that starts a stream under its `stream_id`."""

StatsFrame = StatsSubscribeFrame | StatsUnsubscribeFrame

ClientFrame = OpeningFrame | PrefillFrame | CancelFrame | StatsFrame | PingFrame | PongFrame

_KINDS: Mapping[str, type[ClientFrame]] = {
    "chat.completion.create": CreateFrame,
    "chat.completion.cancel": CancelFrame,
    "chat.completion.resume": ResumeFrame,
    "chat.completion.follow": FollowFrame,
    "chat.completion.prefill": PrefillFrame,
    "server.stats.subscribe": StatsSubscribeFrame,
    "server.stats.unsubscribe": StatsUnsubscribeFrame,
    "ping": PingFrame,
    "pong": PongFrame,
}


class FrameRefused(Exception):
    """A client's frame is wrong: the error, and the ids that could be read, which tell the client which frame it was.

    `stream_id` is set only if the frame asked for a stream, which will not start: in an error it means that the stream
    has ended. `frame` is the frame, if it could be read.
    """

    def __init__(
        self,
        error: TwowireError,
        stream_id: str | None = None,
        event_id: str | None = None,
        frame: OpeningFrame | None = None,
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.stream_id = stream_id
        self.event_id = event_id
        self.frame = frame


def parse_frame(message: str | bytes | None) -> ClientFrame:
    """Parse a client's frame. `message` is the content of a text frame, or the bytes (or None) of any other.

    Unknown fields are ignored. Raises `FrameRefused`.
    """
    if not isinstance(message, str):
        raise FrameRefused(TwowireError(Fault.INVALID_JSON, "Frames must be text frames that hold JSON."))
    try:
        # As in a request's body, null means absent.
        fields = {name: value for name, value in parse_json_object(message.encode()).items() if value is not None}
    except UnicodeEncodeError:
        raise FrameRefused(TwowireError(Fault.INVALID_JSON, "The frame is not valid UTF-8.")) from None
    except TwowireError as wrong:
        raise FrameRefused(wrong) from wrong
    name, event_id = fields.get("type"), _label(fields.get("event_id"))
    kind = _KINDS.get(name) if isinstance(name, str) else None
    stream_id = _label(fields.get("stream_id")) if kind in get_args(OpeningFrame) else None
    if kind is None:
        known = ", ".join(_KINDS)
        unknown = TwowireError(Fault.INVALID_VALUE, f"type must be one of: {known}.", param="type")
        raise FrameRefused(unknown, None, event_id)
    try:
        return kind.model_validate(fields)
    except ValidationError as wrong:
        raise FrameRefused(refusal_of(wrong, fields), stream_id, event_id) from None


def _label(value: object) -> str | None:
    return value if isinstance(value, str) and len(value) <= 256 else None
