"""Bytes in, a request model or one `TwowireError` out."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from protocol.errors import Fault, TwowireError
from protocol.validation.request import SHOWN_CHARS, RequestModel, quoted, shown
from protocol.validation.structure import excess_of
from protocol.validation.unsupported_fields import check_field

T = TypeVar("T", bound=RequestModel)


def parse_request(model: type[T], raw: bytes) -> T:
    """The request that `raw`, a whole JSON body, describes.

    Raises `TwowireError`: INVALID_JSON as `parse_json_object` does, otherwise as `request_from_object` does.
    """
    return request_from_object(model, parse_json_object(raw))


def request_from_object(model: type[T], body: dict[str, Any]) -> T:
    """The request that `body`, an object parsed from JSON, describes. `body` is left as it is.

    A field that is null is taken as absent. Raises `TwowireError` for the first thing that is wrong:
    MISSING_FIELD, INVALID_TYPE, INVALID_VALUE, or the fault that a model's validator or its `field_rules`
    name; `param` has OpenAI's form (`messages[0].content`).
    """
    present = {name: value for name, value in body.items() if value is not None}
    unknown: list[str] = []
    for name in sorted(present.keys() - model.model_fields.keys()):
        rule = model.field_rules.get(name)
        if rule is None:
            unknown.append(name)
        else:
            check_field(name, present[name], rule)
    try:
        request = model.model_validate(present)
    except ValidationError as failure:
        raise refusal_of(failure, present) from None
    if unknown:
        request._unknown_fields = tuple(unknown)
    return request


def refusal_of(failure: ValidationError, body: object) -> TwowireError:
    """The first thing that pydantic found wrong with `body`, as an error for the client."""
    return _translate(failure.errors(include_url=False, include_input=False)[0], body)


# The bytes.


def parse_json_object(raw: bytes) -> dict[str, Any]:
    """The JSON object (RFC 8259, UTF-8) that is the whole of `raw`.

    Raises `TwowireError`, BODY_TOO_LARGE where it would take too much memory (see `protocol.validation.structure`), and
    INVALID_JSON: for a blank body, anything but an object, NaN and numbers beyond a
    double, a byte order mark, bytes that are not UTF-8, lone surrogates, raw NUL, more after the object,
    nesting deeper than the parsers go (1024 and less), and a key given twice in one object (RFC 8259,
    section 4, leaves open what that means).
    """
    if excess := excess_of(raw):
        raise _too_large(raw, excess)
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as failure:
        raise TwowireError(Fault.INVALID_JSON, _why_not_json(raw, failure)) from None
    if not isinstance(value, dict):
        raise TwowireError(Fault.INVALID_JSON, f"The body must be a JSON object, got {shown(value)}.")
    if _may_have_duplicates(raw, value):
        try:
            _DUPLICATE_FINDER.decode(raw.decode())
        except RecursionError:
            raise TwowireError(Fault.INVALID_JSON, "The body is nested too deeply.") from None
    return value


def _too_large(raw: bytes, excess: str) -> TwowireError:
    try:
        orjson.loads(raw[:_BEGINNING_BYTES])
    except orjson.JSONDecodeError as failure:
        if failure.msg.startswith("depth limit"):
            return TwowireError(Fault.INVALID_JSON, _why_not_json(raw, failure))
    return TwowireError(Fault.BODY_TOO_LARGE, f"The body {excess}")


_BEGINNING_BYTES = 8 * 1024
"""Enough to see that a body consists of nesting alone."""


def _why_not_json(raw: bytes, failure: orjson.JSONDecodeError) -> str:
    if not raw.strip():
        return "The body is empty; send a JSON object."
    if raw.startswith(b"\xef\xbb\xbf"):
        return "The body starts with a byte order mark; send UTF-8 without one."
    try:
        raw.decode()
    except UnicodeDecodeError as bad:
        return f"The body is not valid UTF-8 (byte {bad.start})."
    where = f"(line {failure.lineno}, column {failure.colno})"
    if failure.msg.startswith("depth limit"):
        return f"The body is nested too deeply {where}."
    return f"The body is not valid JSON: {failure.msg} {where}."


def _may_have_duplicates(raw: bytes, value: dict[str, Any]) -> bool:
    """False where no key in `raw`, from which `value` was parsed, is given twice in one object.

    orjson keeps the last of two equal keys and cannot be told otherwise. It encodes `value` to the same bytes where
    `raw` is compact, and so nothing was dropped. Otherwise both must have as many colons, of which a dropped key takes
    one with it; only an escaped colon could make up for that.
    """
    try:
        kept = orjson.dumps(value)
    except orjson.JSONEncodeError:  # It is nested deeper than orjson writes (254).
        return True
    if kept == raw:
        return False
    if b"\\" in raw and b"\\u003" in raw and (b"\\u003a" in raw or b"\\u003A" in raw):
        return True
    return kept.count(b":") != raw.count(b":")


def _refuse_duplicates(pairs: list[tuple[str, object]]) -> None:
    # Returns None: orjson has built the value already, this pass only looks at the keys.
    if len({key for key, _ in pairs}) == len(pairs):
        return
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise TwowireError(Fault.INVALID_JSON, f"The key {quoted(key)} is given twice in one object.")
        seen.add(key)


_DUPLICATE_FINDER = json.JSONDecoder(object_pairs_hook=_refuse_duplicates)


# The fields: pydantic's error becomes ours.

_TYPES = {
    "string_type": "must be a string",
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}
_BOUNDS = {
    "greater_than": ("must be greater than", "gt"),
    "greater_than_equal": ("must be at least", "ge"),
    "less_than": ("must be less than", "lt"),
    "less_than_equal": ("must be at most", "le"),
}
_LENGTHS = {
    "too_short": ("at least", "min_length", "items"),
    "too_long": ("at most", "max_length", "items"),
    "string_too_short": ("at least", "min_length", "characters"),
    "string_too_long": ("at most", "max_length", "characters"),
}


def _translate(error: ErrorDetails, body: object) -> TwowireError:
    context: dict[str, Any] = error.get("ctx") or {}
    path, given = _locate(error["loc"], body)
    # A member that is null may count as missing, and is in the path then.
    if error["type"] == "missing" and not (given is None and path[-1:] == [error["loc"][-1]]):
        path.append(error["loc"][-1])
    path.extend(context.get("at", ()))
    fault, predicate = _explain(error, context, given)
    param = _param(path)
    return TwowireError(fault, f"{param or 'The request'} {predicate}", param=param or None)


def _locate(loc: tuple[str | int, ...], body: object) -> tuple[list[str | int], Any]:
    """The part of pydantic's `loc` that exists in `body`, and the value there.

    The rest are names of union members and of validators, which mean nothing to a client.
    """
    path: list[str | int] = []
    value: Any = body
    for part in loc:
        is_key = isinstance(value, dict) and part in value
        is_index = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if not (is_key or is_index):
            continue
        value = value[part]
        path.append(part)
    return path, value


def _explain(error: ErrorDetails, context: dict[str, Any], given: Any) -> tuple[Fault, str]:
    """The fault and the words after the field's name."""
    kind = error["type"]
    if kind in Fault.__members__:  # one of our own validators, see `protocol.validation.request.refusal`
        predicate = context.get("predicate")
        return Fault[kind], predicate or f"{error['msg']}, got {shown(given)}."
    if kind == "missing":
        return Fault.MISSING_FIELD, "is required."
    if kind in _TYPES:
        # orjson gives an integer that does not fit 64 bits as a float: the type is right, the size is not.
        if kind == "int_type" and isinstance(given, float) and abs(given) >= 2**63:
            return Fault.INVALID_VALUE, f"must be an integer of at most 64 bits, got {shown(given)}."
        return Fault.INVALID_TYPE, f"{_TYPES[kind]}, got {shown(given)}."
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return Fault.INVALID_VALUE, f"{words} {_plain(context[key])}, got {shown(given)}."
    if kind in _LENGTHS:
        words, key, unit = _LENGTHS[kind]
        limit = context[key]
        if key == "min_length" and limit == 1:
            return Fault.INVALID_VALUE, "must not be empty."
        return Fault.INVALID_VALUE, f"must have {words} {limit} {unit}, got {len(given)}."
    if kind == "literal_error":
        if isinstance(given, str):
            return Fault.INVALID_VALUE, f"must be {context['expected']}, got {quoted(given)}."
        return Fault.INVALID_TYPE, f"must be {context['expected']}, got {shown(given)}."
    if kind == "string_pattern_mismatch":
        return Fault.INVALID_VALUE, f"must match {context['pattern']}."
    return Fault.INVALID_VALUE, "is not valid."


def _plain(bound: float) -> str:
    return str(int(bound) if bound == int(bound) else bound)


def _param(path: list[str | int]) -> str:
    """`path` in OpenAI's form: `messages[0].content`."""
    param = ""
    for part in path:
        if isinstance(part, int):
            param += f"[{part}]"
            continue
        # A key can be the client's own (logit_bias, metadata): short, and without what UTF-8 cannot say.
        name = part[:SHOWN_CHARS].encode("utf-8", "replace").decode()
        param += f".{name}" if param else name
    return param
