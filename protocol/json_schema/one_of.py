"""Whether the branches of a `oneOf` exclude each other: only then is it an `anyOf`, which a grammar can follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from protocol.json_schema.bounds import MAX_NUMBER, wrong
from protocol.json_schema.references import resolve
from protocol.json_schema.values import TYPE_NAMES

_MAX_WORK = 25_000
"""In one schema, 50 ms: a comparison is 1, and what many names or constants add to it."""
_ITEMS_PER_WORK = 64
_MAX_DEPTH = 6

_PYTHON_TYPES = {type(None): "null", bool: "boolean", int: "integer", str: "string", list: "array", dict: "object"}


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a schema says of its instances: their types, the constants that they may be, the names that they have."""

    members: list[dict[str, Any]]
    """The schema and what its `$ref` and `allOf` add to it."""
    types: frozenset[str]
    values: frozenset[bytes] | None
    """None where there is neither `enum` nor `const`."""
    required: frozenset[str]


class Exclusion:
    """Compares branches of one schema. What it finds out of a part of the schema, it keeps."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._at = "#"
        self._left = _MAX_WORK
        self._facts: dict[int, _Facts] = {}
        """By the id of the part, which the schema holds."""
        self._own: dict[int, _Facts] = {}
        """The same, of the part alone."""

    def check(self, branches: list[Any], required: frozenset[str], at: str) -> None:
        """Raises unless each two of `branches` are seen to exclude each other.

        `required` are names that each of them has, besides what it says itself.
        """
        self._at = at
        for index, one in enumerate(branches):
            for other_index in range(index):
                if not self._apart(branches[other_index], one, required, 0):
                    pair = f"branches {other_index} and {index} may both be true"
                    raise wrong(f"has oneOf, which cannot be followed because {pair}; use anyOf", at)

    def _spend(self, items: int = 0) -> None:
        self._left -= 1 + items // _ITEMS_PER_WORK
        if self._left < 0:
            raise wrong("has oneOf with too many branches to compare; use anyOf", self._at)

    def _apart(self, one: Any, other: Any, required: frozenset[str], depth: int) -> bool:
        self._spend()
        if one is False or other is False:
            return True
        if depth > _MAX_DEPTH:
            return False
        ones, others = self._facts_of(one), self._facts_of(other)
        common = ones.types & others.types
        if not common:
            return True
        if ones.values is not None and others.values is not None and not ones.values & others.values:
            return True
        if common == {"object"} and self._objects_apart(ones, others, required, depth):
            return True
        return self._all_branches_apart(ones.members, other, required, depth) or self._all_branches_apart(
            others.members, one, required, depth
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

    def _objects_apart(self, ones: _Facts, others: _Facts, required: frozenset[str], depth: int) -> bool:
        needed, other_needed = ones.required | required, others.required | required
        self._spend((len(needed) + len(other_needed)) * (len(ones.members) + len(others.members)))
        for name in sorted(needed & other_needed):
            for mine in _property(ones.members, name):
                for theirs in _property(others.members, name):
                    if self._apart(mine, theirs, frozenset(), depth + 1):
                        return True
        return _is_closed_to(ones.members, other_needed) or _is_closed_to(others.members, needed)

    def _facts_of(self, node: Any) -> _Facts:
        if not isinstance(node, dict):
            return _NOTHING
        if (facts := self._facts.get(id(node))) is None:
            members = self._conjunction(node)
            own = [self._own_facts(member) for member in members]
            lists = sorted((one.values for one in own if one.values is not None), key=len)
            self._spend(sum(len(one.required) for one in own) + (len(lists[0]) if lists else 0))
            facts = self._facts[id(node)] = _Facts(
                members,
                frozenset.intersection(*(one.types for one in own)),
                frozenset.intersection(*lists) if lists else None,
                frozenset().union(*(one.required for one in own)),
            )
        return facts

    def _own_facts(self, member: dict[str, Any]) -> _Facts:
        if (facts := self._own.get(id(member))) is None:
            one = [member]
            facts = self._own[id(member)] = _Facts(one, frozenset(_types(one)), _values(one), _required(one))
        return facts

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


_NOTHING = _Facts([], frozenset(TYPE_NAMES), None, frozenset())


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


def _values(members: list[dict[str, Any]]) -> frozenset[bytes] | None:
    lists = [values for member in members for values in _listed(member)]
    if not lists:
        return None
    return frozenset.intersection(*(frozenset(map(_canonical, values)) for values in lists))


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
