"""Reads request bodies and makes JSON responses."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from quart import Response, request

from app.limits.parser import ParserThread
from app.routes.shared.answer import json_answer
from app.routes.shared.asked import Asked
from protocol.errors import Fault, TwowireError
from protocol.validation.parse import parse_request
from protocol.validation.request import RequestModel

T = TypeVar("T", bound=RequestModel)

PARSED_ASIDE_BYTES = 64 * 1024
"""A body from this size on is parsed in a thread: one of 16 MiB may take a tenth of a second and more."""


async def parsed_body(model: type[T], parser: ParserThread, timeout_s: float, asked: Asked = request) -> T:
    """The request's body as a `model`; it must arrive within `timeout_s`. Raises `TwowireError` (4xx)."""
    body = await json_body(timeout_s, asked)
    if len(body) < PARSED_ASIDE_BYTES:
        return parse_request(model, body)
    return await parser.run(parse_request, model, body)


async def json_body(timeout_s: float, asked: Asked = request) -> bytes:
    """The request's body, read whole within the server's limits.

    The media type must be JSON in UTF-8. That is also what makes a foreign web page ask first (a CORS preflight):
    a form, plain text, or what has no type could be posted from anywhere without asking.
    Raises `TwowireError` (408, 415); a body that is too large is werkzeug's 413.
    """
    media_type = asked.mimetype
    if media_type and media_type != "application/json" and not media_type.endswith("+json"):
        raise _unsupported_type(f"not {media_type[:60]!r}")
    if not media_type and (asked.content_length or "Transfer-Encoding" in asked.headers):
        raise _unsupported_type("which is missing")
    charset = asked.mimetype_params.get("charset", "utf-8")
    if charset.lower() not in ("utf-8", "utf8"):
        raise TwowireError(Fault.UNSUPPORTED_MEDIA_TYPE, f"The body must be in UTF-8, not {charset[:60]!r}.")
    encoding = asked.headers.get("Content-Encoding")
    if encoding is not None and encoding.lower() != "identity":
        raise TwowireError(
            Fault.UNSUPPORTED_MEDIA_TYPE,
            f"The body must not be compressed (Content-Encoding {encoding[:60]!r}).",
        )
    try:
        # Quart's own BODY_TIMEOUT is off: its `wait_for` loses a cancellation that comes in the same turn of the loop
        # as the body's last byte (Python 3.11), and the generation of a client that is gone would run to its end.
        # Test: `tests/live/real/http/test_disconnect.py`.
        async with asyncio.timeout(timeout_s):
            body: bytes = await asked.get_data(cache=False, as_text=False)
    except TimeoutError as error:
        message = f"The body did not arrive within {timeout_s:g} s."
        raise TwowireError(Fault.REQUEST_TIMEOUT, message) from error
    if body and not media_type:  # Over HTTP/2, no header says that there is a body.
        raise _unsupported_type("which is missing")
    return body


def _unsupported_type(given: str) -> TwowireError:
    return TwowireError(
        Fault.UNSUPPORTED_MEDIA_TYPE, f"The body must be JSON: send «Content-Type: application/json», {given}."
    )


def json_response(body: bytes, status: int = 200) -> Response:
    """A JSON answer of bytes that are encoded already."""
    return json_answer(body, status).as_response()
