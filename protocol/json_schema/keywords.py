"""JSON Schema's keywords, and what becomes of each: followed, refused, or an annotation that changes nothing.

`docs/reference/structured-outputs.md` has the same table; `tests/test_docs_schemas.py` compares the two.
"""

from __future__ import annotations

import difflib

FOLLOWED = frozenset(
    {
        "$ref",
        "additionalItems",
        "additionalProperties",
        "allOf",
        "anyOf",
        "const",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "multipleOf",
        "not",
        "oneOf",
        "pattern",
        "patternProperties",
        "prefixItems",
        "properties",
        "propertyNames",
        "required",
        "type",
        "unevaluatedItems",
        "unevaluatedProperties",
        "uniqueItems",
    }
)
"""Keywords of JSON Schema 2020-12 and its older drafts that answers follow, some of them in part."""

REFUSED = frozenset(
    {
        "$dynamicRef",
        "$recursiveRef",
        "contains",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "maxContains",
        "minContains",
        "then",
    }
)
"""Keywords that restrict an instance in a way that no grammar engine of vLLM 0.32 follows."""

ANNOTATIONS = frozenset(
    {
        "$anchor",
        "$comment",
        "$defs",
        "$dynamicAnchor",
        "$id",
        "$recursiveAnchor",
        "$schema",
        "$vocabulary",
        "contentEncoding",
        "contentMediaType",
        "contentSchema",
        "default",
        "definitions",
        "deprecated",
        "description",
        "discriminator",
        "example",
        "examples",
        "externalDocs",
        "id",
        "nullable",
        "readOnly",
        "title",
        "writeOnly",
        "xml",
    }
)
"""Keywords that say nothing about an instance. `$defs` and `definitions` matter only where a `$ref` leads."""

FORMATS = frozenset({"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"})
"""The values of `format` that answers follow. All others are annotations: JSON Schema 2020-12 Validation, 7.2.1."""

_MEANT = {
    "enums": "enum",
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "length": "maxLength",
    "lt": "exclusiveMaximum",
    "max": "maximum",
    "min": "minimum",
    "ref": "$ref",
    "regex": "pattern",
    "types": "type",
}
"""Constraints under names of other languages: as annotations, they would be silently ignored."""

_BY_PLAIN_NAME = {name.lower(): name for name in FOLLOWED | REFUSED}
_LONG_NAMES = [name for name in _BY_PLAIN_NAME if len(name) >= 5]


def meant_by(unknown: str) -> str | None:
    """The keyword that `unknown` seems to be a misspelling of; None for what is an annotation of the client's own.

    An unknown keyword is an annotation, JSON Schema 2020-12 Core 6.5; but `maxlength` or `min_items` is a mistake whose
    author believes that it is followed.
    """
    plain = unknown.lower().replace("_", "").replace("-", "").replace(" ", "")
    if unknown.lower().startswith("x-"):
        return None
    if name := _MEANT.get(plain) or _BY_PLAIN_NAME.get(plain):
        return name
    close = difflib.get_close_matches(plain, _LONG_NAMES, 1, 0.85) if len(plain) <= 40 else []
    return _BY_PLAIN_NAME[close[0]] if close else None
