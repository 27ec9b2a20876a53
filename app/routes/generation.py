"""The routes that generate: a POST for each API in the table, streamed or not."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from quart import Blueprint, Response, request

from app.generation.api import GenerationApi
from app.generation.replay.reader import ReplayReader
from app.limits.deadlines import REQUEST_TIMEOUT_HEADER, asked_timeout
from app.observability.outcome import Wire
from app.observability.record import RequestRecord, record_of
from app.routes.resume import add_resume_headers, asked_grace
from app.routes.shared.answer import Answer, json_answer
from app.routes.shared.asked import Asked
from app.routes.shared.http import parsed_body
from app.routes.shared.sse import stream_answer
from app.security.caller import Caller
from app.services import Services
from engine.generation import Generation
from protocol.errors import Fault, TwowireError

BLUEPRINT = "generation"


def generation_routes(services: Services) -> Blueprint:
    """`POST /v1/chat/completions`, `POST /v1/completions`, and what else the table of APIs has."""
    routes = Blueprint(BLUEPRINT, __name__)
    for api in services.apis:
        routes.add_url_rule(api.path, api.name, partial(_respond, services, api), methods=["POST"])
    return routes


async def _respond(services: Services, api: GenerationApi[Any]) -> Response:
    return (await respond(services, api, request)).as_response()


class HttpTransport:
    """A request over HTTP as the transport of its response."""

    waits_for_first_step = True

    def __init__(self, record: RequestRecord, wire: Wire) -> None:
        record.wire, record.is_work = wire, True
        self.wire = wire
        self._record = record

    def note_model(self, name: str) -> None:
        self._record.model = name

    async def adopt(self, generation: Generation) -> None:
        await self._record.adopt(generation, generation.close)


async def respond(services: Services, api: GenerationApi[Any], asked: Asked) -> Answer:
    """Answer a request with a stream or with a whole body, as it asks."""
    timeout_s = asked_timeout(asked.headers.getlist(REQUEST_TIMEOUT_HEADER))
    body = await parsed_body(api.request, services.parser, services.settings.requests.body_timeout_s, asked)
    record = record_of(asked.scope)
    transport = HttpTransport(record, "sse" if body.stream else "http")
    caller = Caller.of(record.owner, record.client)
    if api.keeping is not None and api.keeping.is_background(body):
        return await respond_in_background(services, api, asked, body, caller, transport, timeout_s)
    grace_s = asked_grace(asked, api, is_streamed=body.stream)
    if not body.stream:
        return json_answer(await services.generation.collect(api, body, caller, transport, timeout_s=timeout_s))
    stream = await services.generation.start(api, body, caller, transport, timeout_s=timeout_s, grace_s=grace_s)
    if not isinstance(stream, ReplayReader):
        return stream_answer(asked.scope, stream, api)
    # The buffer owns the generation now: this request may leave the stream, not end it.
    record.hand_over(stream)
    return add_resume_headers(stream_answer(asked.scope, stream, api, numbered=True), stream)


async def respond_in_background(
    services: Services,
    api: GenerationApi[Any],
    asked: Asked,
    body: Any,
    caller: Caller,
    transport: HttpTransport,
    timeout_s: float | None,
) -> Answer:
    """Start a response that needs no reader. Returns it as it is now, or its stream."""
    most = services.settings.responses.max_background
    if services.replays.background_count(caller.owner) >= most:
        message = f"{most} responses run in the background; wait until one has ended, or cancel it."
        raise TwowireError(Fault.TOO_MANY_BACKGROUND, message, param="background", retry_after_s=5)
    stream = await services.generation.start(api, body, caller, transport, timeout_s=timeout_s, grace_s=math.inf)
    assert isinstance(stream, ReplayReader)
    record_of(asked.scope).hand_over(stream)
    if body.stream:
        return stream_answer(asked.scope, stream, api)
    return json_answer(services.generation.kept[stream.id].response)
