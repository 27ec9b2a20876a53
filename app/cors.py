"""Which foreign web pages may call this server: none, unless origins are configured.

Does not know routes. CORS tells browsers alone; it is no protection of the server (keys are).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from quart import Blueprint
from quart_cors import cors

from app.rate_limits import HEADERS as RATE_LIMIT_HEADERS

EXPOSED_HEADERS = (
    "X-Request-Id",
    "Retry-After",
    *RATE_LIMIT_HEADERS,
    "Twowire-Completion-Id",
    "Twowire-Resume-Token",
    "Twowire-Resume-Grace",
)


def allow_origins(routes: Blueprint, origins: Sequence[str]) -> Blueprint:
    """Let pages of `origins` call `routes`; a single `*` lets every page, without credentials (the Fetch standard)."""
    if origins:
        cors(
            routes,
            allow_origin="*" if list(origins) == ["*"] else list(origins),
            allow_headers="*",
            allow_methods=("GET", "POST", "DELETE"),
            expose_headers=EXPOSED_HEADERS,
            max_age=timedelta(minutes=10),
        )
    return routes
