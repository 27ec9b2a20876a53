"""The routes that list the models."""

from __future__ import annotations

import orjson
from quart import Blueprint, Response

from app.routes.http import json_response
from app.services import Services


def model_routes(services: Services) -> Blueprint:
    """`/v1/models` and `/v1/models/{model}`."""
    routes = Blueprint("models", __name__)

    @routes.get("/v1/models")
    async def models() -> Response:
        """The models served here. OpenAI's reference: Models, List."""
        objects = [_model_object(services, name) for name in services.models.types]
        return json_response(orjson.dumps({"object": "list", "data": objects}))

    @routes.get("/v1/models/<path:name>")
    async def model(name: str) -> Response:
        """One model. OpenAI's reference: Models, Retrieve."""
        services.models.check(name, None)
        return json_response(orjson.dumps(_model_object(services, name)))

    return routes


def _model_object(services: Services, name: str) -> dict[str, object]:
    described: dict[str, object] = {
        "id": name,
        "object": "model",
        "created": services.models.created,
        "owned_by": "twowire",
        "type": services.models.types[name],
    }
    if services.models.types[name] == "chat":
        formats = services.manager.formats
        described |= {"tool_call_parser": formats.tool_calls, "reasoning_parser": formats.reasoning}
    return described
