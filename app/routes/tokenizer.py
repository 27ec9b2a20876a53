"""vLLM's routes of the tokenizer: `/tokenize`, `/detokenize`, and `/tokenizer_info` where the operator shows it."""

from __future__ import annotations

import orjson
from quart import Blueprint, Response, request

from app.limits.deadlines import REQUEST_TIMEOUT_HEADER, asked_timeout
from app.observability.record import record_of
from app.routes.shared.http import json_response, parsed_body
from app.services import Services
from engine.deadlines import Deadlines
from protocol.errors import Fault, TwowireError
from protocol.tokenize import DetokenizeRequest, TokenizeRequest, TokenizerRequest, tokenized

BLUEPRINT = "tokenizer"
TOKENIZE, DETOKENIZE = f"{BLUEPRINT}.tokenize", f"{BLUEPRINT}.detokenize"


def tokenizer_routes(services: Services) -> Blueprint:
    """`POST /tokenize`, `POST /detokenize` and `GET /tokenizer_info`."""
    routes = Blueprint(BLUEPRINT, __name__)
    manager, timeout_s = services.manager, services.settings.requests.body_timeout_s

    @routes.post("/tokenize")
    async def tokenize() -> Response:
        """The tokens of a text, or of a chat as it is rendered for an answer."""
        body = await parsed_body(TokenizeRequest, services.parser, timeout_s)
        async with _noted(services, body).limit():
            asked, client = body.generation_request(), record_of(request.scope).client or ""
            token_ids, strings = await manager.tokenize(asked, client, strings=body.return_token_strs)
        return json_response(tokenized(token_ids, manager.max_model_len or 0, strings))

    @routes.post("/detokenize")
    async def detokenize() -> Response:
        """The text of tokens."""
        body = await parsed_body(DetokenizeRequest, services.parser, timeout_s)
        async with _noted(services, body).limit():
            text = await manager.detokenize(body.tokens)
        return json_response(orjson.dumps({"prompt": text}))

    @routes.get("/tokenizer_info")
    async def tokenizer_info() -> Response:
        """The tokenizer's configuration, the chat template included."""
        if not services.settings.access.tokenizer_info:
            message = "This server does not show its tokenizer's configuration (--tokenizer-info)."
            raise TwowireError(Fault.UNKNOWN_URL, message)
        return json_response(orjson.dumps(manager.tokenizer_info()))

    return routes


def _noted(services: Services, body: TokenizerRequest) -> Deadlines:
    """Record the request; the time that it may take. Raises `TwowireError` if another model is meant."""
    record = record_of(request.scope)
    record.model = services.models.check(body.model or services.models.names[0])
    if body.unknown_fields:
        services.metrics.unknown_fields.labels(record.path).inc(len(body.unknown_fields))
    return services.deadlines.starting_now(asked_timeout(request.headers.getlist(REQUEST_TIMEOUT_HEADER)))
