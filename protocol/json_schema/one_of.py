"""Whether the branches of a `oneOf` exclude each other: only then is it an `anyOf`, which a grammar can follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from protocol.json_schema.bounds import MAX_NUMBER, wrong
from protocol.json_schema.references import resolve
from protocol.json_schema.values import TYPE_NAMES

_MAX_COMPARISONS = 5000
_MAX_DEPTH = 6

_PYTHON_TYPES = {type(None): "null", bool: "boolean", int: "integer", str: "string", list: "array", dict: "object"}


class Exclusion:
    """Compares branches of one schema; `required` are names that each branch has, besides what it says itself."""

    def __init__(self, root: Mapping[str, Any], required: frozenset[str], at: str) -> None:
        self._root = root
        self._required = required
        self._at = at
        self._left = _MAX_COMPARISONS

    def check(self, branches: list[Any]) -> None:
        """Raises unless each two of `branches` are seen to exclude each other."""
        for index, one in enumerate(branches):
            for other_index in range(index):
                if not self._apart(branches[other_index], one, self._required, 0):
                    pair = f"branches {other_index} and {index} may both be true"
                    raise wrong(f"has oneOf, which cannot be followed because {pair}; use anyOf", self._at)

    def _apart(self, one: Any, other: Any, required: frozenset[str], depth: int) -> bool:
        self._left -= 1
        if self._left < 0:
            raise wrong("has oneOf with too many branches to compare; use anyOf", self._at)
        if one is False or other is False:
            return True
        if depth > _MAX_DEPTH:
            return False
        ones, others = self._conjunction(one), self._conjunction(other)
        common = _types(ones) & _types(others)
        if not common:
            return True
        values, other_values = _values(ones), _values(others)
        if values is not None and other_values is not None and not values & other_values:
            return True
        if common == {"object"} and self._objects_apart(ones, others, required, depth):
            return True
        return self._all_branches_apart(ones, other, required, depth) or self._all_branches_apart(
            others, one, required, depth
        )

    def _all_branches_apart(
        self, members: list[dict[str, Any]], other: Any, required: frozenset[str], depth: int
    ) -> bool:
        return any(
            isinstance(member.get(keyword), list)
            and all(self._apart(branch, other, required, depth + 1) for branch in member[keyword])
            for member in members
            for keyword in ("anyOf", "oneOf")
        )

    def _objects_apart(
        self, ones: list[dict[str, Any]], others: list[dict[str, Any]], required: frozenset[str], depth: int
    ) -> bool:
        needed, other_needed = _required(ones) | required, _required(others) | required
        for name in sorted(needed & other_needed):
            for mine in _property(ones, name):
                for theirs in _property(others, name):
                    if self._apart(mine, theirs, frozenset(), depth + 1):
                        return True
        return _is_closed_to(ones, other_needed) or _is_closed_to(others, needed)

    def _conjunction(self, node: Any) -> list[dict[str, Any]]:
        """`node` and what its `$ref` and `allOf` add to it."""
        found: list[dict[str, Any]] = []
        waiting = [node]
        while waiting and len(found) < 50:
            one = waiting.pop()
            if not isinstance(one, dict) or any(one is seen for seen in found):
                continue
            found.append(one)
            if isinstance(one.get("allOf"), list):
                waiting.extend(one["allOf"])
            if "$ref" in one:
                waiting.append(resolve(self._root, one["$ref"], self._at)[1])
        return found


def _types(members: list[dict[str, Any]]) -> set[str]:
    left = set(TYPE_NAMES)
    for member in members:
        if "type" in member:
            names = member["type"] if isinstance(member["type"], list) else [member["type"]]
            left &= {name for name in names if isinstance(name, str)} | ({"integer"} if "number" in names else set())
        for values in _listed(member):
            given = {_PYTHON_TYPES.get(type(value), "number") for value in values}
            left &= given | ({"number", "integer"} if given & {"number", "integer"} else set())
    return left


def _values(members: list[dict[str, Any]]) -> set[bytes] | None:
    """The constants of `enum` and `const`; None where there is neither."""
    lists = [values for member in members for values in _listed(member)]
    if not lists:
        return None
    return set.intersection(*({_canonical(value) for value in values} for values in lists))


def _listed(member: dict[str, Any]) -> list[list[Any]]:
    lists = [member["enum"]] if isinstance(member.get("enum"), list) else []
    return [*lists, [member["const"]]] if "const" in member else lists


def _canonical(value: Any) -> bytes:
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_NUMBER:
        value = int(value)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _required(members: list[dict[str, Any]]) -> frozenset[str]:
    names = (member.get("required") for member in members)
    return frozenset(name for one in names if isinstance(one, list) for name in one if isinstance(name, str))


def _property(members: list[dict[str, Any]], name: str) -> list[Any]:
    named = (member.get("properties") for member in members)
    return [one[name] for one in named if isinstance(one, dict) and name in one]


def _is_closed_to(members: list[dict[str, Any]], names: frozenset[str]) -> bool:
    """Whether one of `names` cannot be a property of what `members` describe."""
    return any(
        member.get("additionalProperties") is False
        and "patternProperties" not in member
        and isinstance(named := member.get("properties", {}), dict)
        and not names <= named.keys()
        for member in members
    )
