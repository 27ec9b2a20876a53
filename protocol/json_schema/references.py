"""Where a `$ref` leads: JSON pointers (RFC 6901) within the schema itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from protocol.json_schema.bounds import MAX_REFERENCE_CHARS, wrong
from protocol.validation.request import shown

IN_PLACE = ("allOf", "anyOf", "oneOf")
"""Keywords whose subschemas apply to the same instance. `$ref` does so, too."""


def pointer(at: str, *steps: str | int) -> str:
    """The JSON pointer that leads some steps on from `at`."""
    return "/".join([at, *(str(step).replace("~", "~0").replace("/", "~1") for step in steps)])


def resolve(root: Mapping[str, Any], reference: object, at: str) -> tuple[str, Any]:
    """The pointer in one spelling, and what stands there: any part of the schema, which is then read as a schema.

    Raises for a reference that leads to another document, to an anchor, or nowhere.
    """
    if not isinstance(reference, str):
        raise wrong(f"has a $ref that must be a string, got {shown(reference)}", at)
    if reference != "#" and not reference.startswith("#/"):
        raise wrong("has a $ref that must be a JSON pointer within the schema, such as #/$defs/name", at)
    if len(reference) > MAX_REFERENCE_CHARS:
        limit = f"at most {MAX_REFERENCE_CHARS} characters, got {len(reference)}"
        raise wrong(f"has a $ref that must have {limit}", at)
    node: Any = root
    steps: list[str] = []
    for raw in reference.split("/")[1:]:
        step = unquote(raw).replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and step in node:
            node = node[step]
        elif isinstance(node, list) and step.isdecimal() and len(step) < 6 and int(step) < len(node):
            node = node[int(step)]
        else:
            raise wrong("has a $ref that leads nowhere", at)
        steps.append(step)
    return pointer("#", *steps), node


def in_place(root: Mapping[str, Any], node: Any, at: str) -> list[tuple[Any, str]]:
    """The schemas that `node` applies to the same instance, directly, each with where it stands."""
    if not isinstance(node, dict):
        return []
    lists = (node.get(keyword) for keyword in IN_PLACE)
    found = [(branch, at) for branches in lists if isinstance(branches, list) for branch in branches]
    if "$ref" in node:
        target_at, target = resolve(root, node["$ref"], at)
        found.append((target, target_at))
    return found


def members(root: Mapping[str, Any], node: Any, at: str) -> Iterator[dict[str, Any]]:
    """`node`, and every schema that applies to the same instance as it does, or may do so."""
    waiting, seen = [(node, at)], set[int]()
    while waiting:
        one, here = waiting.pop()
        if isinstance(one, dict) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting.extend(in_place(root, one, here))


def leads_to_itself(root: Mapping[str, Any], node: Any, at: str, straight: set[int]) -> bool:
    """Whether `node`, or what it applies in place, applies itself: `{"$ref": "#"}` alone says nothing.

    `straight` keeps the ids of the schemas that do not.
    """
    path: list[tuple[Any, str, list[tuple[Any, str]]]] = []
    on_path: set[int] = set()
    waiting = [(node, at)]
    while True:
        if waiting:
            one, here = waiting.pop()
            if id(one) in on_path:
                return True
            if not isinstance(one, dict) or id(one) in straight:
                continue
            on_path.add(id(one))
            path.append((one, here, waiting))
            waiting = in_place(root, one, here)
        elif path:
            one, here, waiting = path.pop()
            on_path.discard(id(one))
            straight.add(id(one))
        else:
            return False
