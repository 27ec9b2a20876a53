"""One route in OpenAPI's terms, and the small pieces that descriptions are made of.

Does not know any route.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.limits.deadlines import REQUEST_TIMEOUT_HEADER
from protocol.errors import Fault


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path. `answers` are OpenAPI response objects by status, without the errors."""

    path: str
    method: str
    name: str
    tag: str
    summary: str
    description: str
    answers: Mapping[int, dict[str, Any]]
    is_public: bool = False
    generates: bool = False
    """The route reads a body and runs the engine, so that most rows of the error table can come of it."""
    is_metered: bool = False
    """Its requests and tokens are counted, where there are limits for them."""
    faults: tuple[Fault, ...] = ()
    """Errors besides those that any route can answer."""
    parameters: tuple[dict[str, Any], ...] = ()
    body: dict[str, Any] | None = None


def ref(schema: str) -> dict[str, Any]:
    """A reference to one of the document's schemas."""
    return {"$ref": f"#/components/schemas/{schema}"}


def json_answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    """An answer in JSON."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def text_answer(description: str, media_type: str) -> dict[str, Any]:
    """An answer in text of some kind."""
    return {"description": description, "content": {media_type: {"schema": {"type": "string"}}}}


def strings(**members: dict[str, Any]) -> dict[str, Any]:
    """An object of strings, all of them always there."""
    properties = {name: {"type": "string", **schema} for name, schema in members.items()}
    return {"type": "object", "properties": properties, "required": list(members)}


def path_parameter(name: str, description: str) -> dict[str, Any]:
    """A variable part of a path."""
    schema = {"type": "string"}
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


REQUEST_TIMEOUT_PARAMETER: dict[str, Any] = {
    "name": REQUEST_TIMEOUT_HEADER,
    "in": "header",
    "description": "Seconds that this request may take, within the server's own limit.",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}
