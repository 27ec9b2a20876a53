"""vLLM's own defaults, spelled out, are accepted: one by one, all together, and each field that its source has."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

import orjson
import pytest

from protocol.chat.request import ChatCompletionRequest
from protocol.completions.request import CompletionRequest
from protocol.validation.parse import parse_request
from tests.protocol.validation import vllm_fields

Model = type[ChatCompletionRequest] | type[CompletionRequest]
ROUTES: list[tuple[Model, dict[str, Any], dict[str, Any], str]] = [
    (
        ChatCompletionRequest,
        vllm_fields.CHAT,
        {"model": "m", "messages": [{"role": "user", "content": "a"}]},
        "chat_completion",
    ),
    (CompletionRequest, vllm_fields.COMPLETION, {"model": "m", "prompt": "a"}, "completion"),
]
by_route = pytest.mark.parametrize(("model", "fields", "body", "module"), ROUTES, ids=["chat", "completion"])


def accepted(model: Model, body: dict[str, Any]) -> None:
    """Fails where a field is refused, or is not even known."""
    assert parse_request(model, orjson.dumps(body)).unknown_fields == ()


@by_route
def test_each_default_is_accepted(model: Model, fields: dict[str, Any], body: dict[str, Any], module: str) -> None:
    alone = {name: value for name, value in fields.items() if name not in body}
    for name, value in [*alone.items(), *vllm_fields.SAMPLING.items()]:
        accepted(model, body | {name: value})
    for name, values in vllm_fields.HARMLESS.items():
        for value in values:
            accepted(model, body | {name: value})
    accepted(model, alone | body)
    accepted(model, alone | vllm_fields.SAMPLING | body)


@by_route
def test_the_table_is_that_of_the_installed_vllm(
    model: Model, fields: dict[str, Any], body: dict[str, Any], module: str
) -> None:
    # Read, not imported: that would take 15 s.
    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent / "entrypoints" / "openai" / module / "protocol.py"
    found = dict(declared(ast.parse(source.read_text()), model.__name__))
    assert found == {**fields, "request_id": "random_uuid"}


def declared(tree: ast.Module, name: str) -> list[tuple[str, Any]]:
    """The fields of the class `name`, with their defaults."""
    (model,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    fields = [node for node in model.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    return [(field.target.id, default_of(field.value)) for field in fields if not field.target.id.startswith("_")]  # type: ignore[union-attr]  # names, as above


def default_of(node: ast.expr | None) -> Any:
    if node is None:
        return ...
    if not isinstance(node, ast.Call):
        return ast.literal_eval(node)
    given = {word.arg: word.value for word in node.keywords}
    if "default_factory" in given:
        factory = ast.unparse(given["default_factory"])
        return [] if factory == "list" else factory
    return ast.literal_eval(node.args[0] if node.args else given["default"])
