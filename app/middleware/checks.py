"""What every request must pass before its route is called: headers, Host, Origin, API key, request rate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from quart import Quart, Request, Response, request, websocket

from app.channel.endpoint import BLUEPRINT as CHANNEL
from app.generation.api import GenerationApi
from app.generation.audio import AUDIO_APIS
from app.middleware.current import current_request
from app.observability.record import RequestRecord, record_of
from app.routes.adapters import ENDPOINTS as ADMIN_ENDPOINTS
from app.routes.audio import BLUEPRINT as AUDIO
from app.routes.generation import BLUEPRINT as GENERATION
from app.routes.messages import COUNT_TOKENS
from app.routes.responses.compact import ENDPOINT as COMPACT
from app.routes.responses.input_tokens import INPUT_TOKENS
from app.routes.tokenizer import DETOKENIZE, TOKENIZE
from app.security.api_keys import KeyRing
from app.security.caller import Caller
from app.services import Services
from engine.supervisor import EngineState
from protocol.errors import Fault, TwowireError

PUBLIC_ENDPOINTS = frozenset(
    {
        "status.health",
        "status.livez",
        "status.version",
        "pages.index",
        "pages.docs",
        "pages.openapi",
        "pages.static",
        "pages.manifest",
        "pages.service_worker",
    }
)
"""The routes that need no key. All others do, unknown paths and routes yet to come included."""

PROBE_ENDPOINTS = frozenset({"status.health", "status.livez", "status.version", "status.metrics", "pages.index"})
"""The routes that load balancers and monitors request, with an odd Host header or none. A foreign page gains nothing
from them, and could not send such a request; see `HostCheck.check`."""


def metered_endpoints(apis: Iterable[GenerationApi[Any]]) -> frozenset[str]:
    """The routes whose requests and tokens count toward the rate limits. (The channel counts its own.)"""
    generation = {f"{GENERATION}.{api.name}" for api in apis if api.is_metered}
    generation |= {f"{AUDIO}.{api.name}" for api in AUDIO_APIS if api.is_metered}
    others = {"embeddings.embeddings", "embeddings.rerank", "embeddings.score", COUNT_TOKENS, INPUT_TOKENS, COMPACT}
    others |= {TOKENIZE, DETOKENIZE}
    return frozenset(generation | others)


def add_checks(app: Quart, services: Services) -> None:
    """Check each request and WebSocket handshake before its route is called, and label each response."""
    metered = metered_endpoints(services.apis)
    labels = Labels(services)
    public = PUBLIC_ENDPOINTS | ({"status.metrics"} if services.settings.access.public_metrics else frozenset())

    @app.before_request
    async def check() -> None:
        _name_route()
        # Each use of the proxy would look the request up again.
        asked: Request = request._get_current_object()  # type: ignore[attr-defined]  # werkzeug's documented way
        endpoint, headers = asked.endpoint, asked.headers
        check_host(services, asked.scope, headers, is_probe=endpoint in PROBE_ENDPOINTS)
        is_preflight = asked.method == "OPTIONS" and "Access-Control-Request-Method" in headers
        if endpoint not in public and not is_preflight:
            # Without an admin key, those routes do not exist.
            keys = services.admin if endpoint in ADMIN_ENDPOINTS and services.admin else services.keys
            await check_caller(services, keys, asked.scope, headers, is_metered=endpoint in metered)

    @app.before_websocket
    async def check_websocket() -> None:
        _name_route()
        # The channel checks its own handshake, which may carry a ticket.
        if websocket.blueprint == CHANNEL:
            _check_headers(services, websocket.scope)
            return
        headers = websocket.headers
        check_host(services, websocket.scope, headers)
        services.keys.check(headers.getlist("Authorization"), headers.getlist("x-api-key"))

    @app.after_request
    async def label(response: Response) -> Response:
        record = record_of(request.scope)
        record.status = response.status_code
        response.headers.update(await labels.of(record, is_metered=request.endpoint in metered))
        return response


def check_host(services: Services, scope: Any, headers: Any, *, is_probe: bool = False) -> None:
    """Check the size of all headers, and the one named Host. Raises `TwowireError`.

    `headers` are those of `scope`, as `app.routes.shared.asked.Values`.
    """
    _check_headers(services, scope)
    services.hosts.check(headers.getlist("Host"), scope.get("server"), is_probe=is_probe)


async def check_caller(services: Services, keys: KeyRing, scope: Any, headers: Any, *, is_metered: bool) -> None:
    """Check where a request comes from, that it has one of `keys`, and its caller's rate. Raises `TwowireError`."""
    _check_origin(services, scope, headers)
    record = record_of(scope)
    record.owner = keys.check(headers.getlist("Authorization"), headers.getlist("x-api-key"))
    record.client = Caller.of(record.owner, (scope.get("client") or ["<local>"])[0]).client
    if is_metered:
        await services.rates.admit(record.client)


class Labels:
    """The headers that all responses have."""

    def __init__(self, services: Services) -> None:
        self._rates, self._manager = services.rates, services.manager
        self._request_ids = [(api, name) for api in services.apis if (name := api.request_id_header) is not None]

    async def of(self, record: RequestRecord, *, is_metered: bool) -> dict[str, str]:
        """Those of the response to one request."""
        headers = {"X-Request-Id": record.request_id}
        for api, name in self._request_ids:
            if api.has_path(record.path):
                headers[name] = record.request_id
        if record.client is not None and is_metered:
            headers.update(await self._rates.headers(record.client))
        if self._manager.state is EngineState.DRAINING:
            # The client's next request is for another server. HTTP/2 leaves the header out.
            headers["Connection"] = "close"
        return headers


def _name_route() -> None:
    asked = current_request()
    if asked.url_rule is not None:
        record_of(asked.scope).path = asked.url_rule.rule


def _check_headers(services: Services, scope: Any) -> None:
    headers, settings = scope["headers"], services.settings
    # hypercorn counts no headers; nor, over HTTP/2, their bytes, before the whole connection is over.
    if len(headers) > settings.connections.max_headers:
        raise TwowireError(Fault.HEADERS_TOO_LARGE, f"Send at most {settings.connections.max_headers} headers.")
    if sum(len(name) + len(value) for name, value in headers) > settings.connections.max_header_bytes:
        raise TwowireError(
            Fault.HEADERS_TOO_LARGE, f"Send at most {settings.connections.max_header_bytes} bytes of headers."
        )


def _check_origin(services: Services, scope: Any, headers: Any) -> None:
    # A page can make a browser send requests whose responses the page may not read, but it knows no key.
    origins = headers.getlist("Origin")
    if services.keys:
        services.origins.check_form(origins)
    elif origins:
        services.origins.check(origins, headers.get("Host") or "", is_tls=scope["scheme"] == "https")
    else:
        services.origins.check_site(scope["method"], headers.get("Sec-Fetch-Site"))
