"""Frames chunks as server-sent events.

Does not know what a chunk holds. Framing as in the WHATWG HTML standard, section 9.2.
"""

from __future__ import annotations

CONTENT_TYPE = "text/event-stream; charset=utf-8"

DONE = b"data: [DONE]\n\n"
"""OpenAI's last event."""

KEEPALIVE = b": keep-alive\n\n"
"""A comment, which clients skip; it tells proxies and clients that the silent connection lives."""


def event(chunk: bytes, number: int | None = None) -> bytes:
    """One event; `chunk` is JSON on one line, `number` its id for a client that may come back."""
    if number is None:
        return b"data: " + chunk + b"\n\n"
    return b"id: %d\ndata: %b\n\n" % (number, chunk)
