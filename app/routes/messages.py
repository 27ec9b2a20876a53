"""`POST /v1/messages/count_tokens`. The messages themselves are a row in the table of APIs."""

from __future__ import annotations

import orjson
from quart import Blueprint, Response, request

from app.generation.table import MESSAGES
from app.observability.record import record_of
from app.routes.generation import HttpTransport
from app.routes.shared.http import json_response, parsed_body
from app.services import Services
from protocol.messages.request import CountTokensRequest

BLUEPRINT = "messages"
COUNT_TOKENS = f"{BLUEPRINT}.count_tokens"


def messages_routes(services: Services) -> Blueprint:
    """`POST /v1/messages/count_tokens`."""
    routes = Blueprint(BLUEPRINT, __name__)

    @routes.post(f"{MESSAGES.path}/count_tokens")
    async def count_tokens() -> Response:
        """The number of tokens of a prompt, rendered as for an answer. Anthropic's reference: Count tokens."""
        body = await parsed_body(CountTokensRequest, services.parser, services.settings.requests.body_timeout_s)
        record = record_of(request.scope)
        wanted, transport = body.generation_request(), HttpTransport(record, "http")
        tokens = await services.generation.count(MESSAGES, body, wanted, transport, record.client or "")
        return json_response(orjson.dumps({"input_tokens": tokens}))

    return routes
