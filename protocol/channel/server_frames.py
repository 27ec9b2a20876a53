"""The frames that the server sends on the channel, as bytes. The specification is `docs/websocket.md`.

A chunk frame ends with the same bytes that server-sent events put behind `data: `.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from protocol.encoder import Event, NamedEvent, usage_object
from protocol.errors import TwowireError, error_bytes, error_object
from protocol.output import Status, Usage


def ready(connection_id: str, limits: Mapping[str, Any]) -> bytes:
    """The first frame of a connection."""
    return orjson.dumps({"type": "connection.ready", "connection_id": connection_id, "limits": limits})


def created(
    stream_id: str,
    event_id: str | None,
    answer_id: str,
    resume_token: str | None,
    rate_limits: Sequence[Mapping[str, Any]] = (),
    follow_token: str | None = None,
) -> bytes:
    """A create was admitted. The tokens are None if resume was not asked for; no `rate_limits` if there are none."""
    frame = _labelled("chat.completion.created", stream_id, event_id) | {"id": answer_id}
    if resume_token is not None:
        frame["resume_token"] = resume_token
    if follow_token is not None:
        frame["follow_token"] = follow_token
    if rate_limits:
        frame["rate_limits"] = rate_limits
    return orjson.dumps(frame)


def resumed(stream_id: str, event_id: str | None, first_seq: int, last_seq: int) -> bytes:
    """A resume or follow was admitted: the chunks from `first_seq` on come; `last_seq` is the last one there is."""
    frame = _labelled("chat.completion.resumed", stream_id, event_id)
    return orjson.dumps(frame | {"first_seq": first_seq, "last_seq": last_seq})


def chunk_head(stream_id: str) -> bytes:
    """The beginning that all chunk frames of a stream share; see `chunk`."""
    return orjson.dumps({"type": "chat.completion.chunk", "stream_id": stream_id})[:-1] + b',"seq":'


def chunk(head: bytes, seq: int, data: Event) -> bytes:
    """A chunk frame: `head` is the stream's `chunk_head`, `data` the chunk's JSON, which comes last."""
    if type(data) is bytes:  # By far the most common, and one is made per token.
        return b'%b%d,"data":%b}' % (head, seq, data)
    return b"%b%d%b%b}" % (head, seq, _before_data(data), data)


def _before_data(data: Event) -> bytes:
    """The bytes between a chunk's number and its data."""
    return b',"event":"%b","data":' % data.name if isinstance(data, NamedEvent) else b',"data":'


def text_frame(stream_id: str, text_template: tuple[bytes, bytes]) -> tuple[bytes, bytes, bytes]:
    """A chunk frame for the fast path: the bytes before its number, between that and the text, and after the text."""
    before_text, after_text = text_template
    return chunk_head(stream_id), _before_data(before_text) + before_text, after_text + b"}"


def done(stream_id: str, seq: int, status: Status, usage: Usage) -> bytes:
    """The end of a stream; `seq` is that of its last chunk, or 0 if there was none."""
    frame = {"type": "chat.completion.done", "stream_id": stream_id, "seq": seq, "status": status}
    return orjson.dumps(frame | {"usage": usage_object(usage)})


def failed(fault: TwowireError, events: Sequence[Event], stream_id: str, event_id: str | None) -> list[bytes]:
    """A stream has failed: one error frame."""
    return [error(fault, stream_id, event_id, events[-1] if events else None)]


def prefilled(event_id: str | None, status: Status, usage: Usage) -> bytes:
    """The end of a prefill; the tokens of its prompt are in `usage`."""
    frame = _labelled("chat.completion.prefilled", None, event_id)
    return orjson.dumps(frame | {"status": status, "usage": usage_object(usage)})


def error(
    fault: TwowireError, stream_id: str | None = None, event_id: str | None = None, body: bytes | None = None
) -> bytes:
    """An error, with OpenAI's error object. A `body` in another form, that of its API, is added as `data`."""
    frame: dict[str, Any] = _labelled("error", stream_id, event_id) | {"status": fault.fault.status}
    if fault.retry_after_s is not None:
        frame["retry_after_s"] = fault.retry_after_s
    encoded = orjson.dumps(frame | error_object(fault))
    if body is None or body == error_bytes(fault):
        return encoded
    return b'%b,"data":%b}' % (encoded[:-1], body)


def stats(figures: Mapping[str, float], streams: Sequence[Mapping[str, Any]]) -> bytes:
    """The server's load, and the connection's streams that wait."""
    return orjson.dumps({"type": "server.stats", **figures, "streams": streams})


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
