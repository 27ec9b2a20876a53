"""OpenAI's WebSocket protocol for responses: create frames in, the events of server-sent events out, one in a frame.

A frame may name a lane, in `stream_id`; so do the events that answer it. "" stands for the lane without a name. There
is nothing but events: no greeting, no acknowledgement, no end, no heartbeat. Errors are events of type `error`.

https://platform.openai.com/docs/guides/websocket-mode
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from protocol.channel.client_frames import ClientFrame, CreateFrame, FrameRefused, PongFrame
from protocol.channel.codec import FrameCodec
from protocol.encoder import Event
from protocol.errors import Fault, TwowireError, error_object
from protocol.validation.parse import parse_json_object

SUBPROTOCOL = "openai.responses"
"""For browsers, which must offer a subprotocol besides their ticket. OpenAI's clients offer none."""
CREATE, STEER = "response.create", "response.steer"
DEFAULT_LANE = ""
_LANE = re.compile(r"[A-Za-z0-9_.\-]{1,256}")
_NOT_THE_BODY = ("type", "stream_id", "event_id", "stream")


@dataclass(frozen=True, slots=True)
class SteerFrame:
    """Has input for a response that is being made."""

    previous_response_id: str
    input: Any


class ResponsesCodec(FrameCodec):
    """Has only chunks and errors."""

    def decode(self, message: str | bytes | None) -> ClientFrame | SteerFrame:
        """What a frame asks for. Unknown control frames, such as Codex sends, ask for nothing."""
        fields = _object(message)
        kind, lane = fields.get("type"), fields.get("stream_id")
        if kind == STEER:
            return SteerFrame(str(fields.get("previous_response_id", ""))[:256], fields.get("input"))
        if kind != CREATE:
            if isinstance(kind, str) and kind.startswith("response."):
                return PongFrame(type="pong")
            raise FrameRefused(TwowireError(Fault.INVALID_VALUE, f"type must be {CREATE} or {STEER}.", param="type"))
        if lane is None:
            lane = DEFAULT_LANE
        elif not isinstance(lane, str) or not _LANE.fullmatch(lane):
            text = "stream_id must be 1 to 256 letters, digits, underscores, hyphens or periods of ASCII."
            raise FrameRefused(TwowireError(Fault.INVALID_STREAM_ID, text, param="stream_id"))
        if fields.get("background"):
            text = "background is not possible on a WebSocket; create such responses over HTTP."
            raise FrameRefused(TwowireError(Fault.UNSUPPORTED_FIELD, text, param="background"), lane)
        body = {name: value for name, value in fields.items() if name not in _NOT_THE_BODY}
        # Not validated: its name may be empty, and its type is this protocol's.
        return CreateFrame.model_construct(type="chat.completion.create", stream_id=lane, body=body)

    def chunk_head(self, stream_id: str) -> bytes:
        """What takes the place of an event's last brace; nothing for the lane without a name."""
        return b',"stream_id":%b}' % orjson.dumps(stream_id) if stream_id else b""

    def chunk(self, head: bytes, seq: int, data: Event) -> bytes:
        return data[:-1] + head if head else data

    def text_frame(self, stream_id: str, text_template: tuple[bytes, bytes]) -> tuple[bytes, bytes | None, bytes]:
        before_text, after_text = text_template
        return before_text, None, self.chunk(self.chunk_head(stream_id), 0, after_text)

    def failed(self, fault: TwowireError, events: Sequence[Event], stream_id: str, event_id: str | None) -> list[bytes]:
        head = self.chunk_head(stream_id)
        return [self.chunk(head, 0, event) for event in events]

    def error(
        self,
        fault: TwowireError,
        stream_id: str | None = None,
        event_id: str | None = None,
        body: bytes | None = None,
    ) -> bytes:
        status = fault.fault.status
        if fault.fault is Fault.PREVIOUS_RESPONSE_NOT_FOUND:
            status = 400  # OpenAI's, on a socket.
        elif fault.fault is Fault.CONNECTION_TOO_OLD:
            fault, status = TwowireError(Fault.CONNECTION_LIMIT_REACHED, fault.message), 400
        frame = {"type": "error", "status": status, **error_object(fault)}
        return orjson.dumps(frame | ({"stream_id": stream_id} if stream_id else {}))

    def steer_accepted(self, number: int, steer: Mapping[str, Any], lane: str) -> bytes:
        """Steering input was taken. `number` counts the connection's events of steering."""
        return _steer_event("accepted", number, lane, steer=steer)

    def steer_pending(self, number: int, steer: Mapping[str, Any], lane: str, required: Sequence[Any]) -> bytes:
        """Steering input waits for the `required` outputs of calls."""
        more = {"reason": "waiting_for_required_input", "required_input": required}
        return _steer_event("pending", number, lane, steer=steer, **more)

    def steer_failed(self, number: int, steer: Mapping[str, Any], lane: str, code: str, message: str) -> bytes:
        """Steering input was refused, or given up; `steer` has it."""
        error = {"type": "invalid_request_error", "code": code, "message": message}
        return _steer_event("failed", number, lane, steer=steer, error=error)


def _steer_event(kind: str, number: int, lane: str, **members: Any) -> bytes:
    event = {"type": f"{STEER}.{kind}", "sequence_number": number, **members}
    return orjson.dumps(event | ({"stream_id": lane} if lane else {}))


def _object(message: str | bytes | None) -> dict[str, Any]:
    if not isinstance(message, str):
        raise FrameRefused(TwowireError(Fault.INVALID_JSON, "Frames must be text frames that hold JSON."))
    try:
        return {name: value for name, value in parse_json_object(message.encode()).items() if value is not None}
    except UnicodeEncodeError:
        raise FrameRefused(TwowireError(Fault.INVALID_JSON, "The frame is not valid UTF-8.")) from None
    except TwowireError as wrong:
        raise FrameRefused(wrong) from wrong
