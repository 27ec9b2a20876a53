"""Sends a stream as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator

import structlog
from quart import Response, request

from app.generation.fast_path import EventSender, Sender
from app.generation.stream import ResponseStream
from app.hypercorn import fast_writer_of
from protocol import sse
from protocol.errors import Fault, TwowireError, error_bytes

log = structlog.get_logger(__name__)


def stream_response(reply: ResponseStream, *, with_ids: bool = False) -> Response:
    """A reply as server-sent events; `with_ids` numbers them, for a client that may come back."""
    writer, around = fast_writer_of(request.scope), reply.text_template
    sender = EventSender(writer, around) if writer is not None and around is not None and not with_ids else None
    response = Response(_events(reply, with_ids, sender), content_type=sse.CONTENT_TYPE)
    # Quart's default cuts a stream after 60 s, in silence (Quart 0.22, RESPONSE_TIMEOUT).
    response.timeout = None
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"
    return response


async def _events(reply: ResponseStream, with_ids: bool, sender: Sender | None) -> AsyncIterator[bytes]:
    """The stream's bytes, one item per step. Never raises: over HTTP/2 that would leave the client waiting."""
    last = b""
    try:
        try:
            while (chunks := await reply.next(sender)) is not None:
                if reply.is_over:
                    # Nothing is waited for any more: it leaves with the end.
                    last += _as_events(reply, chunks, with_ids)
                else:
                    yield _as_events(reply, chunks, with_ids) or sse.KEEPALIVE
        except TwowireError as error:
            last += sse.event(error_bytes(error))
        except Exception:
            log.exception("stream_failed", id=reply.id)
            last += sse.event(error_bytes(TwowireError(Fault.INTERNAL, "The server failed; its log says why.")))
        yield last + sse.DONE
    finally:
        await reply.leave()


def _as_events(reply: ResponseStream, chunks: list[bytes], with_ids: bool) -> bytes:
    """Those that `reply` has just given; empty after a silence."""
    if not with_ids:
        return b"".join(map(sse.event, chunks))
    first = reply.seq - len(chunks) + 1
    return b"".join(sse.event(chunk, first + offset) for offset, chunk in enumerate(chunks))
