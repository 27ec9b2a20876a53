"""The errors of each route, and the table of all errors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from app.openapi.route import Route, json_answer
from protocol.errors import Fault
from protocol.schemas import ErrorResponse

ANYWHERE = (
    Fault.MALFORMED_REQUEST,
    Fault.NOT_IMPLEMENTED,
    Fault.HEADERS_TOO_LARGE,
    Fault.INVALID_HOST,
    Fault.FORBIDDEN_HOST,
    Fault.INTERNAL,
)
"""Any route can answer these."""

ON_THE_CHANNEL = (
    Fault.FORBIDDEN_STATS,
    Fault.STREAM_NOT_FOUND,
    Fault.TAKEN_OVER,
    Fault.TOO_MANY_STREAMS,
    Fault.CONNECTION_TOO_OLD,
    Fault.CONNECTION_UNUSED,
    Fault.INVALID_STREAM_ID,
    Fault.STREAM_LIMIT_REACHED,
    Fault.CONNECTION_LIMIT_REACHED,
    Fault.INVALID_TOOL_CALL,
)
"""Sent in frames and events only; no HTTP response has their status."""

NOT_OF_A_GENERATION = (
    Fault.UNKNOWN_URL,
    Fault.INVALID_ADAPTER,
    Fault.METHOD_NOT_ALLOWED,
    Fault.INVALID_API_KEY,
    Fault.FORBIDDEN_ORIGIN,
    Fault.UNSUPPORTED_WEBSOCKET_VERSION,
    Fault.INVALID_HANDSHAKE,
    Fault.UNKNOWN_SUBPROTOCOL,
    Fault.TOO_MANY_CONNECTIONS,
    Fault.COMPLETION_NOT_FOUND,
    Fault.CHUNKS_GONE,
    Fault.RESPONSE_NOT_FOUND,
    *ON_THE_CHANNEL,
    *ANYWHERE,
)
"""All other errors are documented for the routes that generate, so a new error is documented without further work."""


def error_table() -> str:
    """All errors as a table in Markdown, ordered by status."""
    rows = [f"| {fault.status} | `{fault.code}` | `{fault.error_type}` |" for fault in sorted(Fault, key=_status)]
    return "\n".join(["| Status | `code` | `type` |", "|---|---|---|", *rows])


def error_answers(route: Route, needs_key: bool) -> dict[int, dict[str, Any]]:
    """The error responses of a route, as OpenAPI response objects by status."""
    faults = [*ANYWHERE, *route.faults]
    # Pages of any origin may read public routes.
    if not route.is_public:
        faults.append(Fault.FORBIDDEN_ORIGIN)
    if route.generates:
        faults += [fault for fault in Fault if fault not in NOT_OF_A_GENERATION]
    if needs_key:
        faults.append(Fault.INVALID_API_KEY)
    by_status: dict[int, list[Fault]] = {}
    for fault in sorted(faults, key=_status):
        by_status.setdefault(fault.status, []).append(fault)
    return {status: _error_answer(status, group, route.error) for status, group in by_status.items()}


def _status(fault: Fault) -> int:
    return fault.status


def _error_answer(status: int, faults: Iterable[Fault], error: type[BaseModel]) -> dict[str, Any]:
    codes = [f"`{code}`" for code in dict.fromkeys(fault.code for fault in faults)]
    # Some forms leave out the code; it still names the cause.
    subject = "`code` is" if error is ErrorResponse else "The cause is"
    answer = json_answer(f"{subject} {'one of ' if len(codes) > 1 else ''}{', '.join(codes)}.", error)
    # RFC 6585, section 4, and RFC 9110, section 15.6.4.
    if status in (429, 503):
        answer["headers"] = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
    if status == Fault.INVALID_API_KEY.status:
        answer["headers"] = {"WWW-Authenticate": {"$ref": "#/components/headers/WWW-Authenticate"}}
    return answer
