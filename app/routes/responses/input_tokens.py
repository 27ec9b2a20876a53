"""`POST /v1/responses/input_tokens`: the prompt of a response, counted."""

from __future__ import annotations

import orjson
from quart import Blueprint, Response, request

from app.generation.recall import recall
from app.generation.table import RESPONSES
from app.observability.record import record_of
from app.routes.generation import HttpTransport
from app.routes.shared.http import json_response, parsed_body
from app.services import Services
from app.stores.responses.history import StoredHistory
from protocol.responses.request import ResponseRequest

BLUEPRINT = "input_tokens"
INPUT_TOKENS = f"{BLUEPRINT}.input_tokens"


def input_token_routes(services: Services) -> Blueprint:
    """`POST /v1/responses/input_tokens`."""
    routes = Blueprint(BLUEPRINT, __name__)
    api = next(one for one in services.apis if one.name == RESPONSES.name)

    @routes.post(f"{RESPONSES.path}/input_tokens")
    async def input_tokens() -> Response:
        """The number of tokens of a response's input, which is rendered as for an answer. Nothing is generated."""
        body = await parsed_body(ResponseRequest, services.parser, services.settings.requests.body_timeout_s)
        record = record_of(request.scope)
        await recall(body, StoredHistory(services.responses, record.owner))
        wanted, transport = api.generation_request(body), HttpTransport(record, "http")
        tokens = await services.generation.count(api, body, wanted, transport, record.client or "")
        return json_response(orjson.dumps({"object": "response.input_tokens", "input_tokens": tokens}))

    return routes
