"""Builds the OpenAPI document of `/openapi.json`.

Schemas come from the pydantic models that the routes name, APIs from their table, and errors from theirs, so the
document cannot promise what the server does not do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from app.generation.api import GenerationApi
from app.generation.table import APIS
from app.openapi.errors import error_answers, error_table
from app.openapi.route import Route
from app.openapi.routes import routes

Mode = Literal["validation", "serialization"]

_TAGS = (
    ("Generation", "Text generation. OpenAI's clients work unchanged: set their base URL to `/v1` of this server."),
    ("Responses", "Stored responses, and conversations."),
    ("Embeddings", "Vectors of texts, and rankings of documents."),
    ("Tokenizer", "Tokens of texts and chats, and the way back."),
    ("Audio", "Texts of recordings."),
    ("Channel", "A WebSocket for many chats; how to cancel and resume chats on either wire."),
    ("Models", "The names that a request may give as `model`."),
    ("Server", "Health, version and metrics."),
    ("Pages", "The pages for a browser. They need no key."),
)

_DESCRIPTION = """\
One language model behind OpenAI's HTTP routes, served through vLLM. Requests, responses, chunks and errors have
OpenAI's shapes; vLLM's extra sampling fields are supported too.

- A field of OpenAI's or vLLM's that this server does not support is refused if it would change the answer.
- Unknown fields are ignored.
- Every response to well-formed HTTP carries `X-Request-Id`. Send the header yourself to find your request in the
  server's log.
- Closing the connection cancels the generation.

## Errors

A failed request is answered with a status from this table and an `ErrorResponse`, whose `code` is stable and meant for
programs. Once a stream has started, its status cannot change any more: the same object is then sent as an event,
followed by `[DONE]`. If a retry may succeed, `Retry-After` says when.

{table}
"""

_REQUEST_ID = "X-Request-Id"
_RATE_HEADERS = {
    f"x-ratelimit-{what}-{name}": {
        "description": f"{text}. Present if the server limits {name} per minute.",
        "schema": schema,
    }
    for name in ("requests", "tokens")
    for what, text, schema in (
        ("limit", f"The {name} allowed per minute", {"type": "integer", "minimum": 1}),
        ("remaining", f"The {name} left at the moment", {"type": "integer", "minimum": 0}),
        ("reset", f"The time until all {name} are available again", {"type": "string", "examples": ["6m0s", "20ms"]}),
    )
}
_HEADERS: dict[str, dict[str, Any]] = {
    _REQUEST_ID: {
        "description": "The request's id: the client's, or a new one. It is in the server's log, too.",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "The seconds after which to retry, if the server can tell.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWW-Authenticate": {
        "description": "The authentication scheme (RFC 9110, section 11.6.1).",
        "schema": {"type": "string", "const": "Bearer"},
    },
    **_RATE_HEADERS,
}
_PARAMETERS = {
    _REQUEST_ID: {
        "name": _REQUEST_ID,
        "in": "header",
        "description": "Your id for this request: up to 128 printable ASCII characters without spaces.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
    }
}
_SECURITY = {
    "bearerAuth": {
        "type": "http",
        "scheme": "bearer",
        "description": "One of the server's API keys. A server without keys needs none.",
    }
}


def openapi_document(
    *,
    version: str,
    model: str,
    keys_required: bool,
    public_metrics: bool,
    apis: Sequence[GenerationApi[Any]] = APIS,
) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a server with this version, whose examples ask for `model`.

    With `keys_required`, all routes but the public ones need a key; `/metrics` is public with `public_metrics`.
    https://spec.openapis.org/oas/v3.1.1
    """
    paths: dict[str, dict[str, Any]] = {}
    schemas = _Schemas()
    for route in routes(model, apis):
        needs_key = keys_required and not (route.is_public or (public_metrics and route.path == "/metrics"))
        shared = {"parameters": [{"$ref": f"#/components/parameters/{_REQUEST_ID}"}]}
        paths.setdefault(route.path, shared)[route.method] = _operation(route, needs_key, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "twowire",
            "version": version,
            "summary": "One language model behind OpenAI's HTTP routes.",
            "description": _DESCRIPTION.format(table=error_table()),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": ".", "description": "This server."}],
        "tags": [{"name": name, "description": description} for name, description in _TAGS],
        "paths": paths,
        "components": {
            "schemas": schemas.definitions(),
            "headers": _HEADERS,
            "parameters": _PARAMETERS,
            "securitySchemes": _SECURITY,
        },
    }


class _Schemas:
    """The models that the routes name. A model in a request is described as it is read, in a response as it is sent."""

    def __init__(self) -> None:
        self._models: dict[tuple[type[BaseModel], Mode], None] = {}

    def refer(self, value: Any, mode: Mode) -> Any:
        """A copy of `value` with a reference in place of each model."""
        if isinstance(value, type) and issubclass(value, BaseModel):
            self._models[value, mode] = None
            return {"$ref": f"#/components/schemas/{value.__name__}"}
        if isinstance(value, dict):
            return {key: self.refer(member, mode) for key, member in value.items()}
        if isinstance(value, list):
            return [self.refer(member, mode) for member in value]
        return value

    def definitions(self) -> dict[str, Any]:
        template = "#/components/schemas/{model}"
        _, schemas = models_json_schema(list(self._models), ref_template=template, schema_generator=_Untitled)
        definitions: dict[str, Any] = schemas["$defs"]
        return definitions


class _Untitled(GenerateJsonSchema):
    """Without pydantic's titles, which only repeat the fields' names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _operation(route: Route, needs_key: bool, schemas: _Schemas) -> dict[str, Any]:
    answers = {**error_answers(route, needs_key), **route.answers}
    responses = {str(status): _with_headers(answers[status], route.is_metered) for status in sorted(answers)}
    operation: dict[str, Any] = {
        "operationId": route.name,
        "tags": [route.tag],
        "summary": route.summary,
        "description": route.description,
        "responses": schemas.refer(responses, "serialization"),
        "security": [{"bearerAuth": []}] if needs_key else [],
    }
    if route.parameters:
        operation["parameters"] = list(route.parameters)
    if route.body is not None:
        operation["requestBody"] = schemas.refer(route.body, "validation")
    return operation


def _with_headers(answer: dict[str, Any], is_metered: bool) -> dict[str, Any]:
    names = [_REQUEST_ID, *(_RATE_HEADERS if is_metered else ())]
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    return {**answer, "headers": {**headers, **answer.get("headers", {})}}
