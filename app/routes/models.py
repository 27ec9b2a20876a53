"""The routes that list the models."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
from quart import Blueprint, Response, request

from app.generation.table import MESSAGES
from app.routes.shared.http import json_response
from app.services import Services


def model_routes(services: Services) -> Blueprint:
    """`/v1/models` and `/v1/models/{model}`."""
    routes = Blueprint("models", __name__)

    @routes.get("/v1/models")
    async def models() -> Response:
        """The models served here. OpenAI's reference: Models, List; Anthropic's, for its clients."""
        if _is_anthropics():
            objects = [_model_info(services, name) for name, kind in services.models.types.items() if kind == "chat"]
            names = [described["id"] for described in objects] or [None]
            ids = {"first_id": names[0], "last_id": names[-1]}
            return json_response(orjson.dumps({"data": objects, "has_more": False} | ids))
        objects = [_model_object(services, name) for name in services.models.types]
        return json_response(orjson.dumps({"object": "list", "data": objects}))

    @routes.get("/v1/models/<path:name>")
    async def model(name: str) -> Response:
        """One model. OpenAI's reference: Models, Retrieve; Anthropic's, for its clients."""
        is_anthropics = _is_anthropics()
        served = services.models.check(name, "chat" if is_anthropics else None)
        describe = _model_info if is_anthropics else _model_object
        return json_response(orjson.dumps(describe(services, served)))

    return routes


def _is_anthropics() -> bool:
    """Whether the client uses Anthropic's API."""
    return any(name in request.headers for name in MESSAGES.client_headers)


def _model_info(services: Services, name: str) -> dict[str, object]:
    """Anthropic's `ModelInfo`. Prompt and answer share the context."""
    created = datetime.fromtimestamp(services.models.created, UTC)
    context = services.manager.max_model_len
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": created.isoformat().replace("+00:00", "Z"),
        "lifecycle": "active",
        "max_input_tokens": context,
        "max_tokens": context,
    }


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
        described |= {
            "tool_call_parser": formats.tool_calls,
            "reasoning_parser": formats.reasoning,
            "input_modalities": services.manager.modalities,
        }
    if (adapter := services.models.adapters.get(name)) is not None:
        described |= {"root": adapter.source, "parent": services.models.names[0]}
    return described
