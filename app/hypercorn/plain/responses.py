"""Responses that leave their connection open, framed here."""

from __future__ import annotations

import re
from typing import Any

import h11
from h11._writers import ChunkedWriter, ContentLengthWriter
from hypercorn.events import RawData
from hypercorn.protocol.events import Body, EndBody, Event, Response
from hypercorn.protocol.h11 import H11Protocol

from app.hypercorn.plain.requests import MAX_LENGTH_DIGITS, NAME, VALUE

_NAME, _VALUE = re.compile(NAME), re.compile(VALUE)
_BODILESS = frozenset({204, 304})


class ShortenResponses(H11Protocol):
    """hypercorn 0.18 and h11 0.16 check the headers of a response three times; here they are checked once.

    Tests: `tests/app/hypercorn/plain/test_responses.py`.
    """

    async def stream_send(self, event: Event) -> None:
        connection, data = self.connection, None
        if isinstance(connection, h11.Connection):
            if isinstance(event, Body):
                data = _part(connection, event.data)
            elif isinstance(event, EndBody):
                data = _end(connection)
            elif isinstance(event, Response) and self.keep_alive_requests < self.config.keep_alive_max_requests:
                data = _head(connection, event.status_code, event.headers + self.config.response_headers("h11"))
        if data is None:
            await super().stream_send(event)
        elif data:
            await self.send(RawData(data))


def _stays_open(connection: Any) -> bool:
    """Neither side has asked for the connection's end or for another protocol, nor failed."""
    state = connection._cstate
    client = state.states[h11.CLIENT]
    return (client is h11.DONE or client is h11.SEND_BODY) and state.keep_alive and not state.pending_switch_proposals


def _head(connection: Any, status: int, headers: list[tuple[bytes, bytes]]) -> bytes | None:
    """The head of a response, having brought h11's connection into the state after it; None where h11 must write it."""
    states = connection._cstate.states
    if (
        states[h11.SERVER] is not h11.SEND_RESPONSE
        or not _stays_open(connection)
        or connection.client_is_waiting_for_100_continue
        or connection.their_http_version != b"1.1"
        or connection._request_method == b"HEAD"
        or status < 200
        or status in _BODILESS
    ):
        return None
    lines, length = [b"HTTP/1.1 %d \r\n" % status], None
    for name, value in headers:
        match name.lower():
            case b"content-length":
                if length is not None or not value.isdigit() or len(value) > MAX_LENGTH_DIGITS:
                    return None
                length = int(value)
            case b"transfer-encoding" | b"connection" | b"host":
                return None
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            return None
        lines.append(b"%b: %b\r\n" % (name, value))
    lines.append(b"Transfer-Encoding: chunked\r\n\r\n" if length is None else b"\r\n")
    states[h11.SERVER] = h11.SEND_BODY
    connection._writer = ChunkedWriter() if length is None else ContentLengthWriter(length)
    return b"".join(lines)


def _part(connection: Any, part: bytes) -> bytes | None:
    """A part of the body as it is sent; None where h11 must do it."""
    if connection._cstate.states[h11.SERVER] is not h11.SEND_BODY:
        return None
    writer = connection._writer
    if isinstance(writer, ChunkedWriter) and part:
        return b"%x\r\n%b\r\n" % (len(part), part)
    if isinstance(writer, ContentLengthWriter) and len(part) <= writer._length:
        writer._length -= len(part)
        return part
    return None


def _end(connection: Any) -> bytes | None:
    """What is sent at the end of the body; None where h11 must do it."""
    states, writer = connection._cstate.states, connection._writer
    if states[h11.SERVER] is not h11.SEND_BODY or not _stays_open(connection):
        return None
    if isinstance(writer, ChunkedWriter):
        end = b"0\r\n\r\n"
    elif isinstance(writer, ContentLengthWriter) and not writer._length:
        end = b""
    else:
        return None
    states[h11.SERVER], connection._writer = h11.DONE, None
    return end
