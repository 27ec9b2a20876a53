"""The routes that tell about the server: health, version, models, metrics.

Does not know how to generate.
"""

from __future__ import annotations

import time

import orjson
from prometheus_client import CONTENT_TYPE_LATEST
from quart import Blueprint, Response

from app.routes.http import json_response
from app.services import Services
from app.version import installed_version


def status_routes(services: Services) -> Blueprint:
    """`/health`, `/livez`, `/version`, `/metrics` and `/v1/models`."""
    routes = Blueprint("status", __name__)

    @routes.get("/health")
    async def health() -> Response:
        """200 only when a token could be generated now; else 503 with the state and its reason."""
        manager = services.manager
        body: dict[str, object] = {
            "status": "ok" if manager.is_ready else "unavailable",
            "state": manager.state.value,
            "reason": manager.reason,
            "since": manager.supervisor.since,
            "timestamp": time.time(),
        }
        if services.embedder.models:
            body["embedder"] = {"state": services.embedder.state.value, "reason": services.embedder.reason}
        return json_response(orjson.dumps(body), 200 if manager.is_ready else 503)

    @routes.get("/livez")
    async def livez() -> Response:
        """200 as long as the event loop turns."""
        return json_response(b'{"status":"ok"}')

    @routes.get("/version")
    async def version() -> Response:
        """This server's version."""
        return json_response(orjson.dumps({"version": installed_version()}))

    @routes.get("/metrics")
    async def metrics() -> Response:
        """Prometheus' text format: this server's figures and vLLM's; of several API servers, those of all."""
        siblings = services.siblings
        text = services.metrics.exposition() if siblings is None else await siblings.exposition()
        return Response(text, content_type=CONTENT_TYPE_LATEST)

    @routes.get("/v1/models")
    async def models() -> Response:
        """The models served here. OpenAI's reference: Models, List."""
        objects = [_model_object(services, name) for name in services.model_types]
        return json_response(orjson.dumps({"object": "list", "data": objects}))

    @routes.get("/v1/models/<path:name>")
    async def model(name: str) -> Response:
        """One model. OpenAI's reference: Models, Retrieve."""
        services.check_model(name, None)
        return json_response(orjson.dumps(_model_object(services, name)))

    return routes


def _model_object(services: Services, name: str) -> dict[str, object]:
    return {
        "id": name,
        "object": "model",
        "created": services.created,
        "owned_by": "twowire",
        "type": services.model_types[name],
    }
