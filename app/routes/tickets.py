"""The route that issues tickets for WebSockets."""

from __future__ import annotations

import orjson
from quart import Blueprint, Response, request

from app.observability.record import record_of
from app.routes.shared.http import json_response
from app.security.tickets import LIFETIME_S
from app.services import Services
from protocol.channel.client_frames import TICKET_PREFIX


def ticket_routes(services: Services) -> Blueprint:
    """`POST /v1/ws/tickets`."""
    routes = Blueprint("tickets", __name__)

    @routes.post("/v1/ws/tickets")
    async def tickets() -> Response:
        """A ticket that opens one WebSocket, for a client that cannot set its headers: a browser."""
        owner = record_of(request.scope).owner
        ticket = services.tickets.issue(owner, request.headers.get("Origin"))
        body = {
            "object": "ws.ticket",
            "ticket": ticket,
            "expires_in": LIFETIME_S,
            "subprotocol": TICKET_PREFIX + ticket,
        }
        response = json_response(orjson.dumps(body))
        response.headers["Cache-Control"] = "no-store"
        return response

    return routes
