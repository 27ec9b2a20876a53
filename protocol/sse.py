"""Frames events as server-sent events: the WHATWG HTML standard, section 9.2."""

from __future__ import annotations

from protocol.encoder import Event, NamedEvent

CONTENT_TYPE = "text/event-stream; charset=utf-8"

DONE = b"data: [DONE]\n\n"
"""OpenAI's last event."""

KEEPALIVE = b": keep-alive\n\n"
"""A comment, which clients ignore; it tells proxies and clients that the connection is alive."""


def event(data: Event, number: int | None = None) -> bytes:
    """One event; `number` is its id, for a client that may come back."""
    if type(data) is bytes:  # By far the most common, and one is made per token.
        return b"data: " + data + b"\n\n" if number is None else b"id: %d\ndata: %b\n\n" % (number, data)
    id_line = b"" if number is None else b"id: %d\n" % number
    return id_line + before(data) + data + b"\n\n"


def before(data: Event) -> bytes:
    """The bytes before an event's data, or before its first part."""
    return b"event: %b\ndata: " % data.name if isinstance(data, NamedEvent) else b"data: "
