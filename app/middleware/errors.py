"""Turns every exception a request can raise into one response, in the error format of its API."""

from __future__ import annotations

from typing import Any

import structlog
from quart import Quart, Response, current_app
from quart.wrappers.base import BaseRequestWebsocket
from werkzeug.exceptions import HTTPException, NotFound

from app.generation.api import api_of
from app.middleware.current import current_request
from app.observability.record import RequestRecord, record_of
from app.routes.shared.answer import Answer, json_answer
from app.routes.shared.asked import body_too_large
from app.services import Services
from protocol.errors import Fault, TwowireError, error_bytes

log = structlog.get_logger(__name__)

MAX_NAMED_PATH = 120
"""How much of a path an error repeats."""
MAX_GUESSES = 8
"""How many leading segments of an unknown path are dropped to find the route that was meant."""

FAULTS_BY_STATUS = {
    404: Fault.UNKNOWN_URL,
    405: Fault.METHOD_NOT_ALLOWED,
    413: Fault.BODY_TOO_LARGE,
}


def add_error_handlers(app: Quart, services: Services) -> None:
    """Answer errors with a `refusal`."""

    def refuse(error: TwowireError) -> Response:
        asked = current_request()
        return refusal(services, error, record_of(asked.scope), asked.path, asked.headers).as_response()

    @app.errorhandler(TwowireError)
    async def known(error: TwowireError) -> Response:
        return refuse(error)

    @app.errorhandler(HTTPException)
    async def from_werkzeug(error: HTTPException) -> Response:
        status = error.code or 500
        fault = FAULTS_BY_STATUS.get(status, Fault.INVALID_VALUE if status < 500 else Fault.INTERNAL)
        response = refuse(TwowireError(fault, _message(fault, services)))
        for name, value in error.get_headers():
            if name == "Allow":
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    async def unforeseen(error: Exception) -> Response:
        return refuse(unforeseen_error(error, record_of(current_request().scope)))


def unforeseen_error(error: Exception, record: RequestRecord) -> TwowireError:
    """What the client is told of an exception that nobody expected, which is logged."""
    log.error("request_failed", request_id=record.request_id, exc_info=error)
    return TwowireError(Fault.INTERNAL, "The server failed; its log says why.")


def refusal(services: Services, error: TwowireError, record: RequestRecord, path: str, headers: Any) -> Answer:
    """The answer to a request that ends with `error`, which is counted.

    `headers` are the request's, as `app.routes.shared.asked.Values`.
    """
    record.status, record.fault = error.fault.status, error.fault
    services.metrics.refusals.labels(error.fault.code).inc()
    api = api_of(services.apis, path, headers.__contains__)
    encode = error_bytes if api is None else api.error_body
    answer = json_answer(encode(error, record.request_id), error.fault.status)
    answer.headers |= _headers_of(error)
    # A refused WebSocket handshake does not pass `after_request`.
    answer.headers["X-Request-Id"] = record.request_id
    if api is not None and api.request_id_header is not None:
        answer.headers[api.request_id_header] = record.request_id
    return answer


def _headers_of(error: TwowireError) -> dict[str, str]:
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if error.fault is Fault.INVALID_API_KEY:
        # RFC 9110, section 11.6.1: a 401 names the scheme.
        headers["WWW-Authenticate"] = "Bearer"
    if error.fault is Fault.UNSUPPORTED_WEBSOCKET_VERSION:
        # RFC 6455, section 4.4, and RFC 9110, section 15.5.22.
        headers |= {"Sec-WebSocket-Version": "13", "Upgrade": "websocket", "Connection": "Upgrade"}
    return headers


def _message(fault: Fault, services: Services) -> str:
    asked = current_request()
    if fault is Fault.BODY_TOO_LARGE:
        return body_too_large(services.settings.requests.max_body_bytes).message
    if fault is Fault.METHOD_NOT_ALLOWED:
        return f"{asked.method} is not allowed here."
    if fault is Fault.UNKNOWN_URL:
        return f"There is no route {asked.method} {asked.path[:MAX_NAMED_PATH]}.{_hint(asked)}"
    return "The request could not be understood."


def _hint(asked: BaseRequestWebsocket) -> str:
    """What to set if a wrong base URL has led to this path; empty for other paths."""
    meant = _meant(asked)
    if meant is None:
        return ""
    if not meant.startswith("/v1/"):
        return f" It is {meant} here."
    base = asked.headers.get("Host", "") + "/v1"
    return f" A base URL that ends with {base}, without a slash after it, would lead to {meant}."


def _meant(asked: BaseRequestWebsocket) -> str | None:
    """The route probably meant: the longest end of the path that is one, below /v1 or at the root."""
    if len(asked.path) > MAX_NAMED_PATH:
        return None
    parts = [part for part in asked.path.split("/") if part]
    routes = current_app.url_map.bind("")
    for start in range(min(len(parts), MAX_GUESSES)):
        for base in ("/v1/", "/"):
            path = base + "/".join(parts[start:])
            try:
                routes.match(path, asked.method)
            except NotFound:
                continue
            except HTTPException:  # It exists, for another method.
                pass
            return path
    return None
