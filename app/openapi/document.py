"""Builds the OpenAPI document that `/openapi.json` answers: what the routes share, and the whole.

Does not know the routes (`app.openapi.routes` does), nor any request: schemas come from the models in
`protocol`, the table of errors from `protocol.errors`, so that neither can say what the server does not do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from app.generation.api import APIS, GenerationApi
from app.openapi import schemas as responses
from app.openapi.route import Route
from app.openapi.routes import routes
from protocol.embeddings.embed import EmbeddingRequest
from protocol.embeddings.rerank import RerankRequest
from protocol.errors import Fault

Mode = Literal["validation", "serialization"]

_REQUESTS: tuple[type[BaseModel], ...] = (EmbeddingRequest, RerankRequest)
_RESPONSES: tuple[type[BaseModel], ...] = (
    responses.EmbeddingList,
    responses.Ranking,
    responses.Model,
    responses.ModelList,
    responses.Health,
    responses.ErrorResponse,
)

_TAGS = (
    (
        "Generation",
        "Where text is made. OpenAI's clients work unchanged: set their base URL to `/v1` of this server.",
    ),
    ("Embeddings", "Where texts are turned into vectors, and documents ranked, beside the chats."),
    ("Channel", "One WebSocket for many chats, and what cancels and resumes on either wire."),
    ("Models", "Which names a request may give as `model`."),
    ("Server", "How the server is. For probes, dashboards and people."),
    ("Pages", "What a browser shows. No key is needed to look."),
)

_DESCRIPTION = """\
One language model behind OpenAI's HTTP routes, served through vLLM. The shapes of requests, answers, chunks
and errors are OpenAI's; vLLM's extra sampling fields are understood too.

- A field that OpenAI or vLLM knows and this server does not honour is refused if it would change the answer.
- A field that nobody knows is ignored.
- Every answer to well-formed HTTP carries `X-Request-Id`; send the header yourself to find your own label in the
  server's log.
- A generation ends when its client is gone: closing the connection is how to cancel.

## Errors

A request that fails is answered with the status below and an `ErrorResponse`; `code` is stable, and made for
programs. A stream that has begun cannot change its status any more: the same object then comes as one of its
events, followed by `[DONE]`. Where waiting may help, `Retry-After` says how long.

{table}
"""

_REQUEST_ID = "X-Request-Id"
_RATE_HEADERS = {
    f"x-ratelimit-{what}-{name}": {
        "description": f"{text}. Present where the server has a limit of {name} per minute.",
        "schema": schema,
    }
    for name in ("requests", "tokens")
    for what, text, schema in (
        ("limit", f"The {name} that are allowed in a minute", {"type": "integer", "minimum": 1}),
        ("remaining", f"The {name} that are left now", {"type": "integer", "minimum": 0}),
        ("reset", f"How long until all {name} are there again", {"type": "string", "examples": ["6m0s", "20ms"]}),
    )
}
_HEADERS: dict[str, dict[str, Any]] = {
    _REQUEST_ID: {
        "description": "The request's label, sent or fresh. The server's log has it too.",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "After how many seconds to try again. Present where the server can tell.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {
        "description": "The scheme to authenticate with (RFC 9110, section 11.6.1).",
        "schema": {"type": "string", "const": "Bearer"},
    },
    **_RATE_HEADERS,
}

_ANYWHERE = (
    Fault.MALFORMED_REQUEST,
    Fault.NOT_IMPLEMENTED,
    Fault.HEADERS_TOO_LARGE,
    Fault.INVALID_HOST,
    Fault.FORBIDDEN_HOST,
    Fault.INTERNAL,
)
"""Before or after any route's own work."""

_ON_THE_CHANNEL = (
    Fault.STREAM_NOT_FOUND,
    Fault.TAKEN_OVER,
    Fault.TOO_MANY_STREAMS,
    Fault.CONNECTION_TOO_OLD,
    Fault.CONNECTION_UNUSED,
)
"""Only in frames or events: the status that goes with them is no HTTP answer's."""

_NOWHERE = (
    Fault.UNKNOWN_URL,
    Fault.METHOD_NOT_ALLOWED,
    Fault.INVALID_API_KEY,
    Fault.FORBIDDEN_ORIGIN,
    Fault.UNSUPPORTED_WEBSOCKET_VERSION,
    Fault.INVALID_HANDSHAKE,
    Fault.UNKNOWN_SUBPROTOCOL,
    Fault.TOO_MANY_CONNECTIONS,
    Fault.COMPLETION_NOT_FOUND,
    Fault.CHUNKS_GONE,
    *_ON_THE_CHANNEL,
    *_ANYWHERE,
)
"""Not a generation's own: all other rows of the table are, so that a new row is documented by being there."""


def openapi_document(
    *,
    version: str,
    model: str,
    keys_required: bool,
    public_metrics: bool,
    apis: Sequence[GenerationApi[Any]] = APIS,
) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a server with this version, whose examples ask for `model`.

    Without `keys_required` no route asks for a key; with it, all but the public ones do, of which `/metrics`
    is one if `public_metrics`. https://spec.openapis.org/oas/v3.1.1
    """
    paths: dict[str, dict[str, Any]] = {}
    for route in routes(model, apis):
        needs_key = keys_required and not (route.is_public or (public_metrics and route.path == "/metrics"))
        shared = {"parameters": [{"$ref": f"#/components/parameters/{_REQUEST_ID}"}]}
        paths.setdefault(route.path, shared)[route.method] = _operation(route, needs_key)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "twowire",
            "version": version,
            "summary": "One language model behind OpenAI's HTTP routes.",
            "description": _DESCRIPTION.format(table=error_table()),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This server."}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS],
        "paths": paths,
        "components": _components(apis),
    }


def error_table() -> str:
    """Every error of the server as a table in Markdown, ordered by status."""
    rows = [f"| {fault.status} | `{fault.code}` | `{fault.error_type}` |" for fault in sorted(Fault, key=_status)]
    return "\n".join(["| Status | `code` | `type` |", "|---|---|---|", *rows])


def _status(fault: Fault) -> int:
    return fault.status


def _components(apis: Sequence[GenerationApi[Any]]) -> dict[str, Any]:
    requests = [*(api.request for api in apis), *_REQUESTS]
    models: list[tuple[type[BaseModel], Mode]] = [(model, "validation") for model in requests]
    # An API may stream what it also sends whole.
    own = dict.fromkeys(model for api in apis for model in (api.description.response, api.description.chunk))
    models += [(model, "serialization") for model in (*own, *_RESPONSES)]
    _, definitions = models_json_schema(models, ref_template="#/components/schemas/{model}", schema_generator=_Untitled)
    return {
        "schemas": definitions["$defs"],
        "headers": _HEADERS,
        "parameters": {
            _REQUEST_ID: {
                "name": _REQUEST_ID,
                "in": "header",
                "description": "Your label for this request: up to 128 printable ASCII characters, no space.",
                "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
            }
        },
        "securitySchemes": {
            "bearerAuth": {
                "type": "http",
                "scheme": "bearer",
                "description": "One of the server's API keys. A server without keys asks for none.",
            }
        },
    }


class _Untitled(GenerateJsonSchema):
    """Without pydantic's titles: a field's name in other letters tells nobody anything."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _operation(route: Route, needs_key: bool) -> dict[str, Any]:
    # Public routes may be read by any page.
    faults = [*_ANYWHERE, *route.faults, *(() if route.is_public else (Fault.FORBIDDEN_ORIGIN,))]
    if route.generates:
        faults += [fault for fault in Fault if fault not in _NOWHERE]
    if needs_key:
        faults.append(Fault.INVALID_API_KEY)
    answers = {**_error_answers(faults), **{str(status): answer for status, answer in route.answers.items()}}
    operation: dict[str, Any] = {
        "operationId": route.name,
        "tags": [route.tag],
        "summary": route.summary,
        "description": route.description,
        "responses": {status: _with_headers(answers[status], route.is_metered) for status in sorted(answers)},
        "security": [{"bearerAuth": []}] if needs_key else [],
    }
    if route.parameters:
        operation["parameters"] = list(route.parameters)
    if route.body is not None:
        operation["requestBody"] = route.body
    return operation


def _error_answers(faults: Iterable[Fault]) -> dict[str, dict[str, Any]]:
    by_status: dict[int, list[Fault]] = {}
    for fault in sorted(faults, key=_status):
        by_status.setdefault(fault.status, []).append(fault)
    return {str(status): _error_answer(status, group) for status, group in by_status.items()}


def _error_answer(status: int, faults: list[Fault]) -> dict[str, Any]:
    names = list(dict.fromkeys(fault.code for fault in faults))
    codes = ", ".join(f"`{name}`" for name in names)
    answer: dict[str, Any] = {
        "description": f"`code` is {'one of ' if len(names) > 1 else ''}{codes}.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}},
    }
    # RFC 6585, section 4, and RFC 9110, section 15.6.4: the statuses that say when to come back.
    if status in (429, 503):
        answer["headers"] = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
    if status == Fault.INVALID_API_KEY.status:
        answer["headers"] = {"WWW-Authenticate": {"$ref": "#/components/headers/WWW-Authenticate"}}
    return answer


def _with_headers(answer: dict[str, Any], is_metered: bool) -> dict[str, Any]:
    names = [_REQUEST_ID, *(_RATE_HEADERS if is_metered else ())]
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    return {**answer, "headers": {**headers, **answer.get("headers", {})}}
