"""Which foreign web pages may call this server: none, unless origins are configured.

CORS only instructs browsers. It does not protect the server; API keys do.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from quart import Blueprint, Response, request
from quart_cors import cors

from app.limits.rate_limits import HEADERS as RATE_LIMIT_HEADERS

EXPOSED_HEADERS = (
    "X-Request-Id",
    "Retry-After",
    *RATE_LIMIT_HEADERS,
    "Twowire-Completion-Id",
    "Twowire-Resume-Token",
    "Twowire-Follow-Token",
    "Twowire-Resume-Grace",
)


def allow_origins(routes: Blueprint, origins: Sequence[str]) -> Blueprint:
    """Let pages of `origins` call `routes`; a single `*` lets every page, without credentials (the Fetch standard)."""
    if origins:
        routes.after_request(_allow_private_network)
        cors(
            routes,
            allow_origin="*" if list(origins) == ["*"] else list(origins),
            allow_headers="*",
            allow_methods=("GET", "POST", "DELETE"),
            expose_headers=EXPOSED_HEADERS,
            max_age=timedelta(minutes=10),
        )
    return routes


async def _allow_private_network(response: Response) -> Response:
    """Let a public page call a server on this machine or in its network (WICG, Private Network Access, section 3.2)."""
    asks = request.headers.get("Access-Control-Request-Private-Network") == "true"
    if asks and request.method == "OPTIONS" and "Access-Control-Allow-Origin" in response.headers:
        response.headers["Access-Control-Allow-Private-Network"] = "true"
    return response
