"""Sends a stream as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from itertools import islice
from typing import Any

import structlog
from quart import Response, request

from app.generation.api import GenerationApi
from app.generation.fast_path import EventSender, Sender
from app.generation.stream import ResponseStream
from app.hypercorn import fast_writer_of
from app.routes.shared.answer import Answer
from protocol import sse
from protocol.encoder import Event
from protocol.errors import Fault, TwowireError

log = structlog.get_logger(__name__)

EVENTS_AT_ONCE = 256
"""How many are encoded before other requests have their turn."""


def stream_answer(scope: Any, stream: ResponseStream, api: GenerationApi[Any], *, numbered: bool = False) -> Answer:
    """Answer the request of an ASGI scope with the stream's events.

    `numbered` gives each an id, for a client that may come back.
    """
    writer = fast_writer_of(scope) if not numbered else None
    sender = EventSender(writer) if writer is not None else None
    return _answer(_events(stream, api, numbered, sender))


def stream_response(stream: ResponseStream, api: GenerationApi[Any], *, numbered: bool = False) -> Response:
    """Answer Quart's request with the stream's events."""
    return stream_answer(request.scope, stream, api, numbered=numbered).as_response()


def events_response(events: Iterable[Event], api: GenerationApi[Any]) -> Response:
    """Respond with events that are all there."""

    async def body() -> AsyncIterator[bytes]:
        framed = map(sse.event, events)
        while some := b"".join(islice(framed, EVENTS_AT_ONCE)):
            yield some
        if api.end_of_stream:
            yield api.end_of_stream

    return _answer(body()).as_response()


def _answer(body: AsyncIterator[bytes]) -> Answer:
    headers = {"Content-Type": sse.CONTENT_TYPE, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return Answer(body, headers=headers)


async def _events(
    stream: ResponseStream, api: GenerationApi[Any], numbered: bool, sender: Sender | None
) -> AsyncIterator[bytes]:
    """The stream's bytes, one item per step. Never raises: over HTTP/2 that would leave the client waiting."""
    last = b""
    try:
        try:
            while (chunks := await stream.next(sender)) is not None:
                if stream.is_over:
                    # Nothing else is waited for: it leaves together with the end.
                    last += _as_events(stream, chunks, numbered)
                else:
                    yield _as_events(stream, chunks, numbered) or api.keepalive
        except TwowireError as error:
            last += b"".join(map(sse.event, stream.error_events(error)))
        except Exception:
            log.exception("stream_failed", id=stream.id)
            failure = TwowireError(Fault.INTERNAL, "The server failed; its log says why.")
            last += b"".join(map(sse.event, stream.error_events(failure)))
        if last := last + api.end_of_stream:
            yield last
    finally:
        await stream.leave()


def _as_events(stream: ResponseStream, chunks: list[bytes], numbered: bool) -> bytes:
    """The chunks that `stream` has just given; empty after a silence."""
    if not numbered:
        return b"".join(map(sse.event, chunks))
    first = stream.seq - len(chunks) + 1
    return b"".join(sse.event(chunk, first + offset) for offset, chunk in enumerate(chunks))
