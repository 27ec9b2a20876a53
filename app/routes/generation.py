"""The two generation routes: chat completions and completions, streamed and not.

Does not know how tokens are made. The request's life is told in `answer`: run, then stream or fold; whatever happens,
the generation is closed by whoever iterates it, and by the guard after that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from quart import Blueprint, Response, request

from app.generation.admission import Asker, run_admitted
from app.generation.coalesce import Pace
from app.generation.fast_path import EventSender, Sender
from app.generation.stream import LiveStream, ResponseStream
from app.hypercorn import fast_writer_of
from app.limits.deadlines import REQUEST_TIMEOUT_HEADER, asked_timeout, deadlines_of
from app.observability.record import RequestRecord, record_of
from app.routes.http import json_response, parsed_body
from app.services import Services
from engine.api import Prepared
from engine.deadlines import Deadlines
from engine.generation import Generation
from protocol import sse
from protocol.chat.request import ChatCompletionRequest
from protocol.collector import Answer, chat_answer, completion_answer
from protocol.completions.request import CompletionRequest
from protocol.encoder import ChatChunks, ChunkEncoder, CompletionChunks
from protocol.errors import Fault, TwowireError, error_bytes

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Shape:
    """What differs between the routes' answers."""

    id_prefix: str
    chunks: Callable[..., ChunkEncoder]
    answer: Callable[..., Answer]


CHAT = Shape("chatcmpl-", ChatChunks, chat_answer)
COMPLETION = Shape("cmpl-", CompletionChunks, completion_answer)

RESUME_GRACE_HEADER = "Twowire-Resume-Grace"
RESUME_TOKEN_HEADER = "Twowire-Resume-Token"
COMPLETION_ID_HEADER = "Twowire-Completion-Id"
MAX_GRACE_S = 86_400
"""What may be asked for. The answer's header of the same name says what is granted."""


def generation_routes(services: Services) -> Blueprint:
    """`POST /v1/chat/completions` and `POST /v1/completions`."""
    routes = Blueprint("generate", __name__)

    @routes.post("/v1/chat/completions")
    async def chat_completions() -> Response:
        """Answer a chat. OpenAI's reference: Chat Completions, Create."""
        asked_s = asked_timeout(request.headers.getlist(REQUEST_TIMEOUT_HEADER))
        asked = await parsed_body(ChatCompletionRequest, services.parser, services.settings.body_timeout_s)
        record = _note(services, asked)
        deadlines = deadlines_of(services.settings, asked_s)
        async with deadlines.limit():
            prepared = await services.manager.prepare(asked.generation_request(), record.client or "")
        return await answer(services, record, asked, prepared, CHAT, deadlines)

    @routes.post("/v1/completions")
    async def completions() -> Response:
        """Continue a text. OpenAI's reference: Completions, Create."""
        asked_s = asked_timeout(request.headers.getlist(REQUEST_TIMEOUT_HEADER))
        asked = await parsed_body(CompletionRequest, services.parser, services.settings.body_timeout_s)
        record = _note(services, asked)
        deadlines = deadlines_of(services.settings, asked_s)
        async with deadlines.limit():
            prepared = await services.manager.prepare(asked.generation_request(), record.client or "")
        return await answer(services, record, asked, prepared, COMPLETION, deadlines)

    return routes


def _note(services: Services, asked: ChatCompletionRequest | CompletionRequest) -> RequestRecord:
    """Check the model; note what the log and the metrics want of the request."""
    record = record_of(request.scope)
    record.wire, record.is_work = "sse" if asked.stream else "http", True
    services.take_note(asked, record.path)
    record.model = asked.model
    return record


async def answer(
    services: Services,
    record: RequestRecord,
    asked: ChatCompletionRequest | CompletionRequest,
    prepared: Prepared,
    shape: Shape,
    deadlines: Deadlines,
) -> Response:
    """Run a prepared request and answer with its stream or its whole."""
    grace_s = _resume_grace(asked.stream, shape)
    asker = Asker.of(record.owner, record.client)
    generation = await run_admitted(services, prepared, record.wire, asker, deadlines)
    await record.adopt(generation, generation.close)
    if not asked.stream:
        folded = shape.answer(**_common(generation, asked, shape), choices=prepared.sequences)
        async with generation:
            async for deltas in generation:
                folded.add(deltas)
        if asked.top_logprob_count is None:
            return json_response(folded.body(generation.usage))
        # Logprobs can make it tens of megabytes.
        return json_response(await asyncio.to_thread(folded.body, generation.usage))
    reply = live_reply(generation, asked, prepared, shape, services.pace)
    await reply.begin()
    if grace_s is None:
        return stream_response(reply)
    reader = services.replays.keep(reply, record.owner, grace_s)
    # The buffer owns it now: this request may leave it, not end it.
    record.hand_over(reader)
    response = stream_response(reader, with_ids=True)
    # The id, too: a client that is cut off before the first chunk could not come back without it.
    response.headers[COMPLETION_ID_HEADER] = reader.id
    response.headers[RESUME_TOKEN_HEADER] = reader.token
    response.headers[RESUME_GRACE_HEADER] = f"{reader.grace_s:g}"
    return response


def _resume_grace(is_streamed: bool, shape: Shape) -> float | None:
    """The seconds that the client wants its generation to survive the connection, if it asks for that."""
    text = request.headers.get(RESUME_GRACE_HEADER)
    if text is None:
        return None
    try:
        grace_s = float(text)
    except ValueError:
        grace_s = 0.0
    if not 0 < grace_s <= MAX_GRACE_S:
        raise TwowireError(
            Fault.INVALID_VALUE, f"{RESUME_GRACE_HEADER} must be seconds, above 0 and up to {MAX_GRACE_S}."
        )
    if not is_streamed or shape is not CHAT:
        raise TwowireError(Fault.INVALID_VALUE, f"{RESUME_GRACE_HEADER} is only for chats with stream: true.")
    return grace_s


def _common(generation: Generation, asked: ChatCompletionRequest | CompletionRequest, shape: Shape) -> dict[str, Any]:
    return {"answer_id": shape.id_prefix + generation.id, "model": asked.model, "created": int(time.time())}


def live_reply(
    generation: Generation,
    asked: ChatCompletionRequest | CompletionRequest,
    prepared: Prepared,
    shape: Shape,
    pace: Pace | None = None,
) -> LiveStream:
    """The reply of a running generation, in the chunks of its route."""
    common = _common(generation, asked, shape)
    options = asked.stream_options
    obfuscate = options is not None and bool(options.include_obfuscation)
    encoder = shape.chunks(**common, include_usage=asked.include_usage, obfuscate=obfuscate)
    return LiveStream(
        common["answer_id"],
        generation,
        encoder,
        prepared.sequences,
        include_usage=asked.include_usage,
        pace=pace,
    )


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
