"""Where in a schema a subschema stands: alone, or together with others that apply to the same instance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protocol.json_schema.bounds import Sums
from protocol.json_schema.references import members, pointer

COMBINED = "names of properties in subschemas that apply together"
"""What is summed up for them."""


@dataclass(frozen=True, slots=True)
class Group:
    """Subschemas that apply to the same instance, taken together."""

    names: frozenset[str]
    """The properties that any of them names."""
    shared: frozenset[str]
    """Those that two of them describe."""
    mixes: bool
    """Whether children of one may meet those of another in a way that `shared` does not tell."""


@dataclass(frozen=True, slots=True)
class Place:
    """What is known of a subschema from outside: its JSON pointer, and its group where it has one."""

    at: str
    is_combined: bool = False
    group: Group | None = None
    """None where it stands alone; where it is combined, None means that little is known of the others."""
    required: tuple[str, ...] = ()
    """Properties that it must require besides its own: a `oneOf` told by its discriminator needs that."""

    def branch(self, *steps: str | int) -> Place:
        """A subschema of the same group."""
        return Place(pointer(self.at, *steps), self.is_combined, self.group)

    def child(self, *steps: str | int) -> Place:
        """A subschema for a part of the instance: an item, or a property with the last step as its name."""
        at = pointer(self.at, *steps)
        is_apart = self.group is not None and not self.group.mixes and steps[-1] not in self.group.shared
        return Place(at, self.is_combined and not is_apart)


def group_of(root: Mapping[str, Any], node: dict[str, Any], at: str, sums: Sums) -> Group:
    """The group of `node` and its `allOf`, `anyOf`, `oneOf` and `$ref`."""
    described: Counter[str] = Counter()
    required: set[str] = set()
    maps = lists = objects = 0
    for member in members(root, node, at):
        sums.add("subschemas", 1, at)
        named, needed = member.get("properties"), member.get("required")
        if isinstance(named, dict):
            sums.add(COMBINED, len(named), at)
            described.update(named.keys())
        if isinstance(needed, list):
            sums.add(COMBINED, len(needed), at)
            required.update(name for name in needed if isinstance(name, str))
        objects += isinstance(named, dict)
        maps += isinstance(member.get("additionalProperties"), dict) or "patternProperties" in member
        lists += "items" in member or "prefixItems" in member
    return Group(
        names=frozenset(described) | (required if described else frozenset()),
        shared=frozenset(name for name, count in described.items() if count > 1),
        mixes=lists > 1 or (maps + objects > 1 and maps > 0),
    )
