"""The two generation routes: chat completions and completions, streamed and not.

Does not know how tokens are made. The request's life is told in `answer`: run, then stream or fold; whatever happens,
the generation is closed by whoever iterates it, and by the guard after that.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from quart import Blueprint, Response, request

from app.generation.admission import run_admitted
from app.generation.api import CHAT, COMPLETION, Shape
from app.generation.coalesce import Pace
from app.generation.stream import LiveStream
from app.limits.deadlines import REQUEST_TIMEOUT_HEADER, asked_timeout, deadlines_of
from app.observability.record import RequestRecord, record_of
from app.routes.http import json_response, parsed_body
from app.routes.resume import (
    COMPLETION_ID_HEADER,
    MAX_GRACE_S,
    RESUME_GRACE_HEADER,
    RESUME_TOKEN_HEADER,
)
from app.routes.sse import stream_response
from app.security.caller import Caller
from app.services import Services
from engine.api import Prepared
from engine.deadlines import Deadlines
from engine.generation import Generation
from protocol.chat.request import ChatCompletionRequest
from protocol.completions.request import CompletionRequest
from protocol.errors import Fault, TwowireError


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
    caller = Caller.of(record.owner, record.client)
    generation = await run_admitted(services, prepared, record.wire, caller, deadlines)
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
