"""The two generation routes: chat completions and completions, streamed and not.

Does not know how tokens are made. The request's life is told in `answer`: run, then stream or fold; whatever happens,
the generation is closed by whoever iterates it, and by the guard after that.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from quart import Blueprint, Response, request

from app.bodies import json_response, parsed_body
from app.guard import RequestRecord, record_of
from app.services import Services
from engine.api import Prepared
from engine.generation import Generation
from protocol import sse
from protocol.chat import ChatCompletionRequest
from protocol.chunks import ChatChunks, ChunkEncoder, CompletionChunks
from protocol.completion import CompletionRequest
from protocol.errors import Fault, TwowireError, error_bytes
from protocol.fold import Answer, chat_answer, completion_answer
from protocol.pieces import Piece

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Shape:
    """What differs between the routes' answers."""

    id_prefix: str
    chunks: Callable[..., ChunkEncoder]
    answer: Callable[..., Answer]


CHAT = Shape("chatcmpl-", ChatChunks, chat_answer)
COMPLETION = Shape("cmpl-", CompletionChunks, completion_answer)


def generation_routes(services: Services) -> Blueprint:
    """`POST /v1/chat/completions` and `POST /v1/completions`."""
    routes = Blueprint("generate", __name__)

    @routes.post("/v1/chat/completions")
    async def chat_completions() -> Response:
        """Answer a chat. OpenAI's reference: Chat Completions, Create."""
        asked = await parsed_body(ChatCompletionRequest)
        record = _note(services, asked)
        prepared = await services.manager.prepare_chat(asked)
        return await answer(services, record, asked, prepared, CHAT)

    @routes.post("/v1/completions")
    async def completions() -> Response:
        """Continue a text. OpenAI's reference: Completions, Create."""
        asked = await parsed_body(CompletionRequest)
        record = _note(services, asked)
        prepared = await services.manager.prepare_completion(asked)
        return await answer(services, record, asked, prepared, COMPLETION)

    return routes


def _note(services: Services, asked: ChatCompletionRequest | CompletionRequest) -> RequestRecord:
    """Check the model; note what the log and the metrics want of the request."""
    services.check_model(asked.model)
    record = record_of(request.scope)
    record.model = asked.model
    if asked.unknown_fields:
        services.metrics.unknown_fields.labels(record.path).inc(len(asked.unknown_fields))
    return record


async def answer(
    services: Services,
    record: RequestRecord,
    asked: ChatCompletionRequest | CompletionRequest,
    prepared: Prepared,
    shape: Shape,
) -> Response:
    """Run a prepared request and answer with its stream or its whole."""
    observer = services.metrics.wires["sse" if asked.stream else "http"]
    generation = await services.manager.run(prepared, observer)
    await record.adopt(generation)
    common: dict[str, Any] = {
        "answer_id": shape.id_prefix + generation.id,
        "model": asked.model,
        "created": int(time.time()),
    }
    if not asked.stream:
        folded = shape.answer(**common, choices=prepared.sequences)
        async with generation:
            async for pieces in generation:
                folded.add(pieces)
        return json_response(folded.body(generation.usage))
    options = asked.stream_options
    encoder = shape.chunks(
        **common,
        include_usage=asked.include_usage,
        obfuscate=options is not None and bool(options.include_obfuscation),
    )
    # The first step is taken before the status line is sent, so that what the engine refuses is a status of its own.
    # It takes no longer than the keep-alive interval: then the step is empty, and the stream begins with a comment.
    first: list[Piece] = await anext(generation, [])
    body = _events(generation, first, encoder, prepared.sequences, asked.include_usage)
    response = Response(body, content_type=sse.CONTENT_TYPE)
    # Quart's default cuts a stream after 60 s, in silence (Quart 0.22, RESPONSE_TIMEOUT).
    response.timeout = None
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"
    return response


async def _events(
    generation: Generation, first: list[Piece], encoder: ChunkEncoder, choices: int, include_usage: bool
) -> AsyncIterator[bytes]:
    """The stream's bytes, one item per step. Never raises: over HTTP/2 that would leave the client waiting."""
    async with generation:
        try:
            yield b"".join(map(sse.event, encoder.opening(choices))) + _step(encoder, first)
            async for pieces in generation:
                yield _step(encoder, pieces)
            if include_usage:
                yield sse.event(encoder.usage(generation.usage))
        except TwowireError as error:
            yield sse.event(error_bytes(error))
        except Exception:
            log.exception("stream_failed", generation=generation.id)
            yield sse.event(error_bytes(TwowireError(Fault.INTERNAL, "The server failed; its log says why.")))
        yield sse.DONE


def _step(encoder: ChunkEncoder, pieces: list[Piece]) -> bytes:
    if len(pieces) == 1:
        return sse.event(encoder.piece(pieces[0]))
    if not pieces:
        return sse.KEEPALIVE
    return b"".join(sse.event(encoder.piece(piece)) for piece in pieces)
