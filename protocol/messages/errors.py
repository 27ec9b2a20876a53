"""Errors in Anthropic's form. https://platform.claude.com/docs/en/api/errors"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from protocol.errors import Fault, TwowireError

_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "api_error",
    504: "timeout_error",
}
"""Anthropic's types by status. All others are `invalid_request_error` below 500 and `api_error` from there on."""

_OVERLOADED = (Fault.QUEUE_FULL, Fault.TOO_MANY_CONNECTIONS)


def error_type(fault: Fault) -> str:
    """Anthropic's `type` for a fault."""
    if fault in _OVERLOADED:
        return "overloaded_error"
    return _TYPES.get(fault.status) or ("invalid_request_error" if fault.status < 500 else "api_error")


def error_body(error: TwowireError, request_id: str | None = None) -> bytes:
    """Anthropic's `ErrorResponse` as JSON; without a `request_id` in a stream, whose events do not depend on the wire.

    It has no place for our `code` and `param`; the message names the field.
    """
    body: dict[str, object] = {
        "type": "error",
        "error": {"type": error_type(error.fault), "message": error.message},
    }
    if request_id is not None:
        body["request_id"] = request_id
    return orjson.dumps(body)
