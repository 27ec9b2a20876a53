"""Rewrites a client's schema as one that the grammar engine follows to the letter.

What it makes has no keyword but those that were seen to be followed, and allows no instance that the client's schema
does not; it may allow fewer. What cannot be expressed so is refused, by keyword and place.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from protocol.json_schema import bounds, values
from protocol.json_schema.bounds import Sums, wrong
from protocol.json_schema.keywords import ANNOTATIONS, FOLLOWED, FORMATS, REFUSED, meant_by
from protocol.json_schema.objects import KEYWORDS as OBJECT_KEYWORDS
from protocol.json_schema.objects import rewritten_object
from protocol.json_schema.one_of import Exclusion
from protocol.json_schema.patterns import STRICTER_FORMATS, checked_pattern, parts
from protocol.json_schema.places import Group, Place, group_of
from protocol.json_schema.references import IN_PLACE, leads_to_itself, resolve
from protocol.validation.request import quoted, shown

_COUNTS = ("minLength", "maxLength")
_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
LIST_KEYWORDS = ("items", "prefixItems", "additionalItems", "unevaluatedItems", "minItems", "maxItems")

_Key = tuple[str, bool, Group | None, tuple[str, ...]]


class Rewriter:
    """One schema that is being rewritten. `$ref` leads to definitions that are made as they are first needed."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._sums = Sums()
        self._names: dict[_Key, str] = {}
        self._waiting: list[tuple[str, Any, Place]] = []
        self._exclusion = Exclusion(root)
        self._unknown: set[str] = set()
        self._straight: set[int] = set()
        """Ids of schemas that are known not to lead back to themselves."""

    def rewritten(self) -> dict[str, Any]:
        """The whole schema. Raises `protocol.validation.request.refusal` with INVALID_SCHEMA."""
        out = self._subschema(self._root, Place("#"))
        definitions = {}
        while self._waiting:
            name, node, place = self._waiting.pop()
            definitions[name] = self._subschema(node, place)
        if out is False:
            raise wrong("allows no answer at all", "#")
        return out | {"$defs": definitions} if definitions else dict(out)

    def _subschema(self, raw: Any, place: Place) -> Any:
        """`raw` rewritten: an object, or a boolean."""
        self._sums.add("subschemas", 1, place.at)
        if isinstance(raw, bool):
            return raw
        if not isinstance(raw, dict):
            raise wrong(f"has a schema that must be an object or a boolean, got {shown(raw)}", place.at)
        node = {keyword: value for keyword, value in raw.items() if self._is_followed(keyword, value, place.at)}
        if "not" in node and not self._negates_nothing(node.pop("not"), place.at):
            return False
        inner = self._combined(node, place)
        own = replace(inner, required=place.required)
        if node.keys() == {"$ref"}:
            return {"$ref": self._reference(node["$ref"], own)}
        out: dict[str, Any] = {}
        is_list = is_object = False
        for keyword, value in node.items():
            if keyword in IN_PLACE:
                self._apply(keyword, value, inner, required_by(raw), out)
            elif keyword == "$ref":
                out["$ref"] = self._reference(value, inner)
            elif keyword in LIST_KEYWORDS:
                # In one go: they depend on each other.
                out |= {} if is_list else self._list(node, own)
                is_list = True
            elif keyword in OBJECT_KEYWORDS:
                out |= {} if is_object else self._object(node, own)
                is_object = True
            else:
                self._assert(keyword, value, node, own, out)
        return out | self._object(node, own) if own.required and not is_object else out

    def _object(self, node: dict[str, Any], place: Place) -> dict[str, Any]:
        return rewritten_object(node, place, self._root, self._sums, self._subschema)

    def _is_followed(self, keyword: str, value: Any, at: str) -> bool:
        if keyword in REFUSED or (keyword == "uniqueItems" and value is not False):
            raise wrong(f"has {keyword}, which cannot be followed", at)
        if keyword in FOLLOWED:
            return keyword != "uniqueItems"
        if keyword not in ANNOTATIONS and keyword not in self._unknown:
            self._sums.add("unknown keywords", 1, at)
            if meant := meant_by(keyword):
                raise wrong(f"has {quoted(keyword)}, which is not a keyword of JSON Schema; is {meant} meant?", at)
            self._unknown.add(keyword)
        return False

    def _negates_nothing(self, value: Any, at: str) -> bool:
        """Whether `not` excludes nothing; False where it excludes everything, as `{"not": {}}` of zod does."""
        if value is False:
            return True
        if isinstance(value, dict):
            value = not any(self._is_followed(keyword, one, at) for keyword, one in value.items())
        if value is True:
            return False
        raise wrong("has not, which cannot be followed", at)

    # -- what applies in place ----------------------------------------------------------------------------------

    def _combined(self, node: dict[str, Any], place: Place) -> Place:
        """The place of what applies to the same instance as `node` does, itself included."""
        applicators = [keyword for keyword in (*IN_PLACE, "$ref") if keyword in node]
        if place.is_combined or not applicators:
            return place
        branches = node.get("allOf")
        alone = len(node) == 1 and not (isinstance(branches, list) and len(branches) > 1)
        if alone:
            return Place(place.at)
        group = group_of(self._root, node, place.at, self._sums)
        return Place(place.at, is_combined=True, group=group if group.names else None)

    def _apply(
        self, keyword: str, value: Any, place: Place, discriminator: tuple[str, ...], out: dict[str, Any]
    ) -> None:
        branches = values.a_list(keyword, value, place.at)
        if len(branches) > bounds.MAX_ALTERNATIVES:
            limit = f"at most {bounds.MAX_ALTERNATIVES} branches, got {len(branches)}"
            raise wrong(f"has {keyword} that must have {limit}", place.at)
        required = discriminator if keyword == "oneOf" else ()
        if keyword == "oneOf":
            self._exclusion.check(branches, frozenset(required), place.at)
        made = [
            self._subschema(branch, replace(place.branch(keyword, index), required=required))
            for index, branch in enumerate(branches)
        ]
        if keyword == "allOf":
            out["allOf"] = out.get("allOf", []) + made
        elif "anyOf" in out:
            out["allOf"] = [*out.get("allOf", []), {"anyOf": made}]
        else:
            out["anyOf"] = made

    def _reference(self, reference: Any, place: Place) -> str:
        at, target = resolve(self._root, reference, place.at)
        if leads_to_itself(self._root, target, at, self._straight):
            raise wrong("has a $ref that leads back to itself", place.at)
        key = (at, place.is_combined, place.group, place.required)
        if (name := self._names.get(key)) is None:
            name = self._names[key] = f"d{len(self._names)}"
            self._waiting.append((name, target, replace(place, at=at)))
        return f"#/$defs/{name}"

    # -- what is asserted of single values ----------------------------------------------------------------------

    def _list(self, node: dict[str, Any], place: Place) -> dict[str, Any]:
        first, rest = node.get("prefixItems"), node.get("items")
        if isinstance(rest, list):  # JSON Schema before 2020-12
            first, rest = rest or None, node.get("additionalItems")
        if rest is None and (rest := node.get("unevaluatedItems")) not in (None, True) and place.is_combined:
            raise wrong("has unevaluatedItems, which cannot be followed beside allOf, anyOf, oneOf or $ref", place.at)
        out: dict[str, Any] = {}
        if first is not None:
            schemas = values.a_list("prefixItems", first, place.at)
            out["prefixItems"] = [self._subschema(one, place.child("prefixItems", i)) for i, one in enumerate(schemas)]
        if rest is not None:
            out["items"] = self._subschema(rest, place.child("items"))
        for keyword in ("minItems", "maxItems"):
            if keyword in node:
                out[keyword] = values.count(keyword, node[keyword], place.at)
        self._sums.add("minItems and maxItems", max(out.get("minItems", 0), out.get("maxItems", 0)), place.at)
        return out

    def _assert(self, keyword: str, value: Any, node: dict[str, Any], place: Place, out: dict[str, Any]) -> None:
        at = place.at
        if keyword == "type":
            names = values.type_names(value, at)
            out["type"] = names if len(names) > 1 else names[0]
        elif keyword == "const":
            out["const"] = values.constant(keyword, value, at)
            self._sums.add("properties and enum values", values.size(value), at)
        elif keyword == "enum":
            out["enum"] = [values.constant(keyword, one, at) for one in values.a_list(keyword, value, at)]
            self._sums.add("properties and enum values", values.size(value) - 1, at)
        elif keyword in _COUNTS:
            out[keyword] = values.count(keyword, value, at)
        elif keyword in _LIMITS and keyword not in out:
            self._limit(keyword, value, node, place, out)
        elif keyword == "multipleOf":
            out[keyword], states = values.multiple(value, at)
            self._sums.add("multipleOf without decimal points", states, at)
            self._sums.add("multipleOf beside allOf, anyOf, oneOf or $ref", int(place.is_combined), at)
        elif keyword == "pattern":
            first, *more = parts(value) if isinstance(value, str) else (value,)
            out["pattern"] = checked_pattern(first, at, self._sums)
            added = [{"pattern": checked_pattern(one, at, self._sums)} for one in more]
            out |= {"allOf": [*out.get("allOf", []), *added]} if added else {}
        elif keyword == "format":
            self._format(value, node, out)

    def _limit(self, keyword: str, value: Any, node: dict[str, Any], place: Place, out: dict[str, Any]) -> None:
        at, is_combined = place.at, place.is_combined
        inclusive = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}.get(keyword)
        if inclusive is None:
            limit = values.limit(keyword, value, at)
        elif isinstance(value, bool):
            # JSON Schema 4, and so OpenAPI 3.0: it says that `minimum` itself is excluded.
            if not value or inclusive not in node:
                return
            limit = values.limit(inclusive, node[inclusive], at)
        else:
            limit = values.limit(keyword, value, at)
        others = (node.get(other) for other in _LIMITS if other not in (keyword, inclusive))
        is_close = is_combined or any(isinstance(other, int | float) and abs(other - limit) < 1 for other in others)
        if inclusive is not None and is_close and isinstance(limit, int) and node.get("type") != "integer":
            # llguidance allows the integer itself where the other bound is less than 1 away.
            keyword, limit = inclusive, values.just_beyond(limit, 1 if inclusive == "minimum" else -1)
            if inclusive in node:
                given = values.limit(inclusive, node[inclusive], at)
                limit = max(limit, given) if inclusive == "minimum" else min(limit, given)
        out[keyword] = limit

    @staticmethod
    def _format(value: Any, node: dict[str, Any], out: dict[str, Any]) -> None:
        if not isinstance(value, str) or value not in FORMATS:
            return
        out["format"] = value
        if (stricter := STRICTER_FORMATS.get(value)) and "pattern" in node:
            out["allOf"] = [*out.get("allOf", []), {"pattern": stricter}]
        elif stricter:
            out["pattern"] = stricter


def required_by(node: dict[str, Any]) -> tuple[str, ...]:
    """The property that OpenAPI's `discriminator` tells branches by: each of them must have it."""
    discriminator = node.get("discriminator")
    name = discriminator.get("propertyName") if isinstance(discriminator, dict) else None
    return (name,) if isinstance(name, str) else ()
