"""The channel's frames: what a client may send, parsed; what the server sends, as bytes.

Does not know the socket, nor when a frame is due. The specification is `docs/websocket.md`; a chunk frame carries,
last, the very bytes that server-sent events put behind `data: `.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import orjson
from pydantic import BeforeValidator, Field, ValidationError

from protocol.encoder import usage_object
from protocol.errors import Fault, TwowireError, error_object
from protocol.output import Usage
from protocol.validation.parse import parse_json_object, refusal_of
from protocol.validation.request import RequestPart, whole

SUBPROTOCOL = "twowire.v1"
TICKET_PREFIX = "twowire.ticket."

StreamId = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9_.\-]+$")]
EventId = Annotated[str, Field(max_length=256)]
Status = Literal["completed", "cancelled", "failed"]


class ResumeOptions(RequestPart):
    """The resume options of a create."""

    grace_s: float = Field(gt=0, le=86_400, description="Seconds that the generation may run on without a reader.")


class TracedFrame(RequestPart):
    """What names the caller's trace: W3C Trace Context, as in the HTTP headers of these names."""

    traceparent: Annotated[str, Field(max_length=256)] | None = None
    tracestate: Annotated[str, Field(max_length=1024)] | None = None

    @property
    def trace_context(self) -> dict[str, str]:
        """As headers; empty where the frame names no trace."""
        if self.traceparent is None:
            return {}
        state = {} if self.tracestate is None else {"tracestate": self.tracestate}
        return {"traceparent": self.traceparent, **state}


class CreateFrame(TracedFrame):
    """Start a generation."""

    type: Literal["chat.completion.create"]
    stream_id: StreamId
    event_id: EventId | None = None
    body: dict[str, Any] = Field(description="The body of `POST /v1/chat/completions`; `stream` is implied.")
    resume: ResumeOptions | None = None
    timeout_s: float | None = Field(default=None, gt=0, description="Seconds that the generation may take.")


class CancelFrame(RequestPart):
    """End a running generation."""

    type: Literal["chat.completion.cancel"]
    stream_id: StreamId
    event_id: EventId | None = None


class ResumeFrame(TracedFrame):
    """Read on in a generation that lost its socket."""

    type: Literal["chat.completion.resume"]
    stream_id: StreamId
    event_id: EventId | None = None
    id: Annotated[str, Field(max_length=256)]
    resume_token: Annotated[str, Field(max_length=256)]
    starting_after: Annotated[int, Field(ge=0, le=2**53), BeforeValidator(whole)] = 0


class PingFrame(RequestPart):
    """Answered with a pong that carries the same `t`."""

    type: Literal["ping"]
    event_id: EventId | None = None
    t: Annotated[str, Field(max_length=64)] | int | float | None = None


class PongFrame(RequestPart):
    """The answer to the server's ping."""

    type: Literal["pong"]
    event_id: EventId | None = None


ClientFrame = CreateFrame | CancelFrame | ResumeFrame | PingFrame | PongFrame

_KINDS: Mapping[str, type[ClientFrame]] = {
    "chat.completion.create": CreateFrame,
    "chat.completion.cancel": CancelFrame,
    "chat.completion.resume": ResumeFrame,
    "ping": PingFrame,
    "pong": PongFrame,
}


class FrameRefused(Exception):
    """A client's frame is wrong: the error, and the ids that could be read, so that the client knows which it was.

    `stream_id` is set only where a stream of that name was asked for and will not be: in an error it says that the
    stream has ended.
    """

    def __init__(self, error: TwowireError, stream_id: str | None = None, event_id: str | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.stream_id = stream_id
        self.event_id = event_id


def parse_frame(message: str | bytes | None) -> ClientFrame:
    """A client's frame. `message` is what a text frame held, or the bytes (or None) of a frame that was not text.

    Unknown fields are ignored. Raises FrameRefused.
    """
    if not isinstance(message, str):
        raise FrameRefused(TwowireError(Fault.INVALID_JSON, "Frames must be text frames that hold JSON."))
    try:
        # As in a request's body, a field that is null is taken as absent.
        fields = {name: value for name, value in parse_json_object(message.encode()).items() if value is not None}
    except UnicodeEncodeError:
        raise FrameRefused(TwowireError(Fault.INVALID_JSON, "The frame is not valid UTF-8.")) from None
    except TwowireError as wrong:
        raise FrameRefused(wrong) from wrong
    name, event_id = fields.get("type"), _label(fields.get("event_id"))
    kind = _KINDS.get(name) if isinstance(name, str) else None
    stream_id = _label(fields.get("stream_id")) if kind in (CreateFrame, ResumeFrame) else None
    if kind is None:
        known = ", ".join(_KINDS)
        unknown = TwowireError(Fault.INVALID_VALUE, f"type must be one of: {known}.", param="type")
        raise FrameRefused(unknown, None, event_id)
    # As in a request's body, null means absent.
    present = {name: value for name, value in fields.items() if value is not None}
    try:
        return kind.model_validate(present)
    except ValidationError as wrong:
        raise FrameRefused(refusal_of(wrong, present), stream_id, event_id) from None


def _label(value: object) -> str | None:
    return value if isinstance(value, str) and len(value) <= 256 else None


# -- from the server ---------------------------------------------------------------------------------------------------


def ready(connection_id: str, limits: Mapping[str, Any]) -> bytes:
    """The first frame of a connection."""
    return orjson.dumps({"type": "connection.ready", "connection_id": connection_id, "limits": limits})


def created(
    stream_id: str,
    event_id: str | None,
    answer_id: str,
    resume_token: str | None,
    rate_limits: Sequence[Mapping[str, Any]] = (),
) -> bytes:
    """A create was admitted. `resume_token` is there only where it was asked for, `rate_limits` where there are any."""
    frame = _labelled("chat.completion.created", stream_id, event_id) | {"id": answer_id}
    if resume_token is not None:
        frame["resume_token"] = resume_token
    if rate_limits:
        frame["rate_limits"] = rate_limits
    return orjson.dumps(frame)


def resumed(stream_id: str, event_id: str | None, first_seq: int, last_seq: int) -> bytes:
    """A resume was admitted: the chunks from `first_seq` on will come; `last_seq` is the last that is there now."""
    frame = _labelled("chat.completion.resumed", stream_id, event_id)
    return orjson.dumps(frame | {"first_seq": first_seq, "last_seq": last_seq})


def chunk_head(stream_id: str) -> bytes:
    """The part that all chunk frames of a stream share; see `chunk`."""
    return orjson.dumps({"type": "chat.completion.chunk", "stream_id": stream_id})[:-1] + b',"seq":'


def chunk(head: bytes, seq: int, data: bytes) -> bytes:
    """A chunk frame: `head` is the stream's `chunk_head`, `data` the chunk's JSON, which comes last."""
    return b'%b%d,"data":%b}' % (head, seq, data)


def done(stream_id: str, seq: int, status: Status, usage: Usage) -> bytes:
    """The end of a stream; `seq` is that of its last chunk, 0 where there was none."""
    frame = {"type": "chat.completion.done", "stream_id": stream_id, "seq": seq, "status": status}
    return orjson.dumps(frame | {"usage": usage_object(usage)})


def error(fault: TwowireError, stream_id: str | None = None, event_id: str | None = None) -> bytes:
    """An error, with OpenAI's error object in it."""
    frame: dict[str, Any] = _labelled("error", stream_id, event_id) | {"status": fault.fault.status}
    if fault.retry_after_s is not None:
        frame["retry_after_s"] = fault.retry_after_s
    return orjson.dumps(frame | error_object(fault))


def ping(t: float) -> bytes:
    """The server's heartbeat; `t` is its clock in seconds."""
    return orjson.dumps({"type": "ping", "t": t})


def pong(t: str | float | None) -> bytes:
    """The answer to a client's ping."""
    return orjson.dumps({"type": "pong", "t": t})


def _labelled(kind: str, stream_id: str | None, event_id: str | None) -> dict[str, Any]:
    frame: dict[str, Any] = {"type": kind}
    if stream_id is not None:
        frame["stream_id"] = stream_id
    if event_id is not None:
        frame["event_id"] = event_id
    return frame
