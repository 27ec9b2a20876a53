"""Makes the Quart app: what every request passes through, and which routes there are.

Does not know how the app is served: `app.server.run` and any other ASGI server may run it.
"""

from __future__ import annotations

from typing import Any

import structlog
from quart import Quart, Request, Response, current_app, has_request_context, request, websocket
from quart.wrappers.base import BaseRequestWebsocket
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.routing import MapAdapter

from app.channel.endpoint import CHANNEL_ENDPOINT, BoundedConnection, channel_routes
from app.middleware.cors import allow_origins
from app.middleware.lifecycle import RequestGuard
from app.observability.record import record_of
from app.routes.embeddings import embedding_routes
from app.routes.generation import generation_routes
from app.routes.health import status_routes
from app.routes.http import error_response
from app.routes.models import model_routes
from app.routes.pages import page_routes
from app.routes.resume import resumable_routes
from app.routes.tickets import ticket_routes
from app.security.caller import Caller
from app.services import Services
from engine.supervisor import EngineState
from protocol.errors import Fault, TwowireError

log = structlog.get_logger(__name__)

PUBLIC_ENDPOINTS = frozenset(
    {
        "status.health",
        "status.livez",
        "status.version",
        "pages.index",
        "pages.docs",
        "pages.openapi",
        "pages.static",
    }
)
"""The routes that need no key. Everything else does, unknown paths included."""

PROBE_ENDPOINTS = frozenset({"status.health", "status.livez", "status.version", "status.metrics", "pages.index"})
"""The routes that load balancers and monitors ask for, with an odd Host header or none. Pages of others gain nothing
by them, and could not ask so; see `HostCheck.check`."""

METERED_ENDPOINTS = frozenset(
    {"generate.chat_completions", "generate.completions", "embeddings.embeddings", "embeddings.rerank"}
)
"""The routes that make a model work: their requests and tokens are counted. (The channel counts its creates.)"""

MAX_NAMED_PATH = 120
"""How much of a path an error repeats."""
MAX_GUESSES = 8
"""How many beginnings of an unknown path are left out to find what was meant."""

FAULTS_BY_STATUS = {
    404: Fault.UNKNOWN_URL,
    405: Fault.METHOD_NOT_ALLOWED,
    413: Fault.BODY_TOO_LARGE,
}


class _App(Quart):
    """Quart, but that it finds a request's route by its path alone."""

    def create_url_adapter(self, request: BaseRequestWebsocket | None) -> MapAdapter | None:
        if request is None:
            return super().create_url_adapter(request)
        # Quart would encode the Host header as a domain name for each request, which costs as much as parsing its body.
        # No route here asks for a host, and `HostCheck` has its own way with it.
        path, query = request.path, request.query_string.decode()
        return MapAdapter(self.url_map, "", request.root_path, "", request.scheme, path, request.method, query)


def create_app(services: Services) -> Quart:
    """An app that starts and stops the services' engine manager with itself."""
    app = _App("app", static_folder=None)
    app.asgi_websocket_class = BoundedConnection
    app.config["MAX_CONTENT_LENGTH"] = services.settings.max_body_bytes
    app.config["BODY_TIMEOUT"] = None  # `app.routes.http` has its own.
    app.config["RESPONSE_TIMEOUT"] = None  # It cuts in silence; the connection has a time of its own to take bytes in.
    # A redirect of `//v1/models` would answer before the key is checked; an odd path is an unknown one.
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False
    origins = services.settings.cors_origins
    app.register_blueprint(allow_origins(generation_routes(services), origins))
    app.register_blueprint(allow_origins(embedding_routes(services), origins))
    app.register_blueprint(allow_origins(status_routes(services), origins))
    app.register_blueprint(allow_origins(model_routes(services), origins))
    app.register_blueprint(allow_origins(resumable_routes(services), origins))
    app.register_blueprint(allow_origins(ticket_routes(services), origins))
    app.register_blueprint(channel_routes(services))
    app.register_blueprint(page_routes(services))
    _add_checks(app, services)
    _add_error_handlers(app, services)
    app.asgi_app = RequestGuard(app.asgi_app, services.access.request)  # type: ignore[method-assign]  # the documented way

    @app.before_serving
    async def start() -> None:
        services.manager.start()
        # Not beside it: on a small machine that would keep the chats waiting.
        services.embedder.start(services.manager.wait_settled, lambda: services.manager.sequences == 0)

    @app.after_serving
    async def stop() -> None:
        await services.manager.stop()
        await services.embedder.stop()
        await services.replays.close()
        services.parser.close()
        if services.traces is not None:
            await services.traces.close()

    return app


def _current() -> BaseRequestWebsocket:
    """The request, or the WebSocket's handshake, that is being handled: errors come from either."""
    return request if has_request_context() else websocket


def _add_checks(app: Quart, services: Services) -> None:
    settings, manager = services.settings, services.manager
    public = PUBLIC_ENDPOINTS | ({"status.metrics"} if settings.public_metrics else frozenset())

    def check_headers(scope: Any) -> None:
        headers = scope["headers"]
        # hypercorn counts no headers; nor, over HTTP/2, their bytes, before the whole connection is over.
        if len(headers) > settings.max_headers:
            raise TwowireError(Fault.HEADERS_TOO_LARGE, f"Send at most {settings.max_headers} headers.")
        if sum(len(name) + len(value) for name, value in headers) > settings.max_header_bytes:
            raise TwowireError(Fault.HEADERS_TOO_LARGE, f"Send at most {settings.max_header_bytes} bytes of headers.")

    def name_route() -> None:
        asked = _current()
        if asked.url_rule is not None:
            record_of(asked.scope).path = asked.url_rule.rule

    def check_origin(asked: Request) -> None:
        # A page can make a browser send what it does not let the page read, and knows no key.
        headers = asked.headers
        origins = headers.getlist("Origin")
        if services.keys:
            services.origins.check_form(origins)
        elif origins:
            services.origins.check(origins, headers.get("Host", ""), is_tls=asked.scheme == "https")
        else:
            services.origins.check_site(asked.method, headers.get("Sec-Fetch-Site"))

    @app.before_request
    async def check() -> None:
        name_route()
        # Each use of the proxy would look the request up anew.
        asked: Request = request._get_current_object()  # type: ignore[attr-defined]  # werkzeug's documented way
        endpoint, headers, scope = asked.endpoint, asked.headers, asked.scope
        check_headers(scope)
        services.hosts.check(headers.getlist("Host"), scope.get("server"), is_probe=endpoint in PROBE_ENDPOINTS)
        is_preflight = asked.method == "OPTIONS" and "Access-Control-Request-Method" in headers
        if endpoint not in public and not is_preflight:
            check_origin(asked)
            record = record_of(scope)
            record.owner = services.keys.check(headers.getlist("Authorization"))
            record.client = Caller.of(record.owner, asked.remote_addr).client
            if endpoint in METERED_ENDPOINTS:
                services.rates.admit(record.client)

    @app.before_websocket
    async def check_websocket() -> None:
        name_route()
        check_headers(websocket.scope)
        # The channel has a door of its own, which takes tickets too.
        if websocket.endpoint != CHANNEL_ENDPOINT:
            services.hosts.check(websocket.headers.getlist("Host"), websocket.scope.get("server"))
            services.keys.check(websocket.headers.getlist("Authorization"))

    @app.after_request
    async def label(response: Response) -> Response:
        record = record_of(request.scope)
        record.status = response.status_code
        response.headers["X-Request-Id"] = record.request_id
        if record.client is not None and request.endpoint in METERED_ENDPOINTS:
            response.headers.update(services.rates.headers(record.client))
        if manager.state is EngineState.DRAINING:
            # The client's next request is for another server. HTTP/2 leaves the header out.
            response.headers["Connection"] = "close"
        return response


def _add_error_handlers(app: Quart, services: Services) -> None:
    def refuse(error: TwowireError) -> Response:
        record = record_of(_current().scope)
        record.status, record.fault = error.fault.status, error.fault
        services.metrics.refusals.labels(error.fault.code).inc()
        response = error_response(error)
        # A refused handshake of a WebSocket does not come past `after_request`.
        response.headers["X-Request-Id"] = record.request_id
        return response

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
        log.error("request_failed", request_id=record_of(_current().scope).request_id, exc_info=error)
        return refuse(TwowireError(Fault.INTERNAL, "The server failed; its log says why."))


def _message(fault: Fault, services: Services) -> str:
    if fault is Fault.BODY_TOO_LARGE:
        return f"The body is larger than the {services.settings.max_body_bytes} bytes that this server takes."
    if fault is Fault.METHOD_NOT_ALLOWED:
        return f"{_current().method} is not allowed here."
    if fault is Fault.UNKNOWN_URL:
        return f"There is no route {_current().method} {_current().path[:MAX_NAMED_PATH]}.{_hint(_current())}"
    return "The request could not be understood."


def _hint(asked: BaseRequestWebsocket) -> str:
    """What to set where a wrong base URL has led to this path; nothing for other paths."""
    meant = _meant(asked)
    if meant is None:
        return ""
    if not meant.startswith("/v1/"):
        return f" It is {meant} here."
    base = asked.headers.get("Host", "") + "/v1"
    return f" A base URL that ends with {base}, without a slash after it, would lead to {meant}."


def _meant(asked: BaseRequestWebsocket) -> str | None:
    """The route that `asked` is likely to mean: the longest end of its path that there is, below /v1 or beside it."""
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
            except HTTPException:  # It is there, for another method.
                pass
            return path
    return None
