"""`POST /v1/responses/compact`."""

from __future__ import annotations

from functools import partial

from quart import Blueprint, Response, request

from app.generation.api import ApiDescription, GenerationApi
from app.generation.recall import recall
from app.limits.deadlines import REQUEST_TIMEOUT_HEADER, asked_timeout
from app.observability.record import record_of
from app.routes.generation import HttpTransport
from app.routes.shared.http import json_response, parsed_body
from app.security.caller import Caller
from app.services import Services
from app.stores.responses.history import StoredHistory
from protocol.responses.compaction import CompactedResponse, CompactionCollector, CompactRequest
from protocol.responses.events import ResponseEvents
from protocol.responses.objects import ID_PREFIX

PATH = "/v1/responses/compact"
ENDPOINT = "compact.compact"

COMPACT = GenerationApi(
    name="compact",
    path=PATH,
    request=CompactRequest,
    generation_request=CompactRequest.generation_request,
    id_prefix=ID_PREFIX,
    encoder=ResponseEvents,  # Not used: a summary is not streamed.
    collector=lambda request, answer_id, created, choices: CompactionCollector(request, answer_id, created),
    description=ApiDescription("compactResponse", "Sum up a dialogue", "", CompactedResponse, CompactedResponse),
)


def compact_routes(services: Services) -> Blueprint:
    """The one route. It is not in the table of APIs, because it has neither streams nor a WebSocket."""
    routes = Blueprint("compact", __name__)
    routes.add_url_rule(PATH, COMPACT.name, partial(compact, services), methods=["POST"])
    return routes


async def compact(services: Services) -> Response:
    """Summarize a dialogue: the input and what it continues."""
    timeout_s = asked_timeout(request.headers.getlist(REQUEST_TIMEOUT_HEADER))
    body = await parsed_body(CompactRequest, services.parser, services.settings.requests.body_timeout_s)
    record = record_of(request.scope)
    caller = Caller.of(record.owner, record.client)
    await recall(body, StoredHistory(services.responses, caller.owner))
    transport = HttpTransport(record, "http")
    return json_response(await services.generation.collect(COMPACT, body, caller, transport, timeout_s=timeout_s))
