"""The routes about the server itself: health, version, metrics."""

from __future__ import annotations

import time

import orjson
from prometheus_client import CONTENT_TYPE_LATEST
from quart import Blueprint, Response

from app.routes.shared.http import json_response
from app.services import Services
from app.version import installed_version


def status_routes(services: Services) -> Blueprint:
    """`/health`, `/livez`, `/version` and `/metrics`."""
    routes = Blueprint("status", __name__)

    @routes.get("/health")
    async def health() -> Response:
        """200 only when a token could be generated now; else 503 with the state and its reason."""
        manager = services.manager
        body: dict[str, object] = {
            "status": "ok" if manager.is_ready else "unavailable",
            "state": manager.state.value,
            "reason": manager.reason,
            "progress": manager.progress,
            "engine_id": manager.supervisor.engine_id,
            "since": manager.supervisor.since,
            "timestamp": time.time(),
        }
        if services.engine_digest is not None:
            body["engine_digest"] = services.engine_digest
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

    return routes
