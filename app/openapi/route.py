"""One route of the OpenAPI document, and helpers for describing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from app.limits.deadlines import REQUEST_TIMEOUT_HEADER
from protocol.errors import Fault
from protocol.schemas import ErrorResponse

Schema = type[BaseModel] | dict[str, Any]
"""A model, which the document replaces by a reference and lists among its schemas, or a JSON schema."""
BODY_FAULTS = (
    Fault.INVALID_JSON,
    Fault.BODY_TOO_LARGE,
    Fault.UNSUPPORTED_MEDIA_TYPE,
    Fault.REQUEST_TIMEOUT,
    Fault.MISSING_FIELD,
    Fault.INVALID_TYPE,
    Fault.INVALID_VALUE,
)
"""What a route that reads a body of JSON can answer."""


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path.

    `answers` are OpenAPI response objects by status, without the errors. Wherever they, or the body, hold a JSON
    schema, they may hold a pydantic model.
    """

    path: str
    method: str
    name: str
    tag: str
    summary: str
    description: str
    answers: Mapping[int, dict[str, Any]]
    is_public: bool = False
    generates: bool = False
    """The route reads a body and runs the engine, so it can answer most errors."""
    is_metered: bool = False
    """Its requests and tokens count toward the rate limits."""
    faults: tuple[Fault, ...] = ()
    """Errors besides those that every route can answer."""
    parameters: tuple[dict[str, Any], ...] = ()
    body: dict[str, Any] | None = None
    error: type[BaseModel] = ErrorResponse
    """The form of its errors."""


def json_answer(description: str, schema: Schema) -> dict[str, Any]:
    """A response in JSON."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def text_answer(description: str, media_type: str) -> dict[str, Any]:
    """A response in some kind of text."""
    return {"description": description, "content": {media_type: {"schema": {"type": "string"}}}}


def json_body(model: type[BaseModel], examples: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A request body in JSON, with examples by name."""
    values = {name: {"value": example} for name, example in examples.items()}
    return {
        "required": True,
        "description": "JSON in UTF-8, not compressed.",
        "content": {"application/json": {"schema": model, "examples": values}},
    }


def path_parameter(name: str, description: str) -> dict[str, Any]:
    """A variable part of a path."""
    schema = {"type": "string"}
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


REQUEST_TIMEOUT_PARAMETER: dict[str, Any] = {
    "name": REQUEST_TIMEOUT_HEADER,
    "in": "header",
    "description": "The most seconds this request may take, within the server's own limit.",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}
