"""The values of single keywords: counts, numbers, constants, types."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from protocol.json_schema import bounds
from protocol.json_schema.bounds import wrong
from protocol.validation.request import quoted, shown

TYPE_NAMES = ("null", "boolean", "number", "integer", "string", "array", "object")

_COUNT_BOUNDS = {
    "minItems": bounds.MAX_ITEMS,
    "maxItems": bounds.MAX_ITEMS,
    "minLength": bounds.MAX_LENGTH,
    "maxLength": bounds.MAX_LENGTH,
    "minProperties": bounds.MAX_PROPERTY_COUNT,
    "maxProperties": bounds.MAX_PROPERTY_COUNT,
}


def type_names(value: object, at: str) -> list[str]:
    """The types that `type` names, at least one."""
    names = value if isinstance(value, list) else [value]
    for name in names:
        if not isinstance(name, str) or name not in TYPE_NAMES:
            given = quoted(name) if isinstance(name, str) else shown(name)
            raise wrong(f"has a type that is not one of JSON Schema's: {given}", at)
    if not names:
        raise wrong("has a type that must not be an empty list", at)
    return list(dict.fromkeys(names))


def count(keyword: str, value: object, at: str) -> int:
    """The value of a keyword that counts, such as `minItems`; 3.0 is 3."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise wrong(f"has {keyword} that must be an integer of at least 0, got {shown(value)}", at)
    if value > (limit := _COUNT_BOUNDS[keyword]):
        raise wrong(f"has {keyword} that must be at most {limit}, got {shown(value)}", at)
    return value


def limit(keyword: str, value: object, at: str) -> int | float:
    """The value of `minimum` and its like. A value beyond ±2^53 is tightened to ±2^53 where that allows less."""
    number = _number(keyword, value, at)
    is_upper = keyword in ("maximum", "exclusiveMaximum")
    if abs(number) > bounds.MAX_NUMBER:
        if is_upper == (number < 0):
            raise wrong(f"has {keyword} that must be within ±2^53, got {shown(value)}", at)
        return bounds.MAX_NUMBER if is_upper else -bounds.MAX_NUMBER
    return number


def just_beyond(number: int, sign: int) -> int | float:
    """The next number above `number` (or below, where `sign` is -1) that has some nine decimals, as doubles allow."""
    places = min(14 - len(str(abs(number))), 9)
    return round(number + sign * 10.0**-places, places) if places > 0 else number + sign


def multiple(value: object, at: str) -> tuple[int | float, int]:
    """The value of `multipleOf`, and the same without its decimal point: at most 10000, and 1 for 0.01."""
    number = _number("multipleOf", value, at)
    if number <= 0:
        raise wrong(f"has multipleOf that must be above 0, got {shown(value)}", at)
    digits, places = float(number), 0
    # llguidance counts the decimals in this way; 0.07 is 7000000000000001 to it.
    while not digits.is_integer() and places <= bounds.MAX_DECIMALS:
        digits, places = digits * 10, places + 1
    if not digits.is_integer() or digits > bounds.MAX_MULTIPLE:
        limit = f"at most {bounds.MAX_MULTIPLE} without its decimal point"
        raise wrong(f"has multipleOf that must be {limit}, got {shown(value)}", at)
    return number, int(digits)


def _number(keyword: str, value: object, at: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise wrong(f"has {keyword} that must be a number, got {shown(value)}", at)
    if isinstance(value, float) and abs(value) <= bounds.MAX_NUMBER:
        places = -int(Decimal(repr(value)).as_tuple().exponent)
        if places > bounds.MAX_DECIMALS:
            limit = f"at most {bounds.MAX_DECIMALS} decimal places"
            raise wrong(f"has {keyword} that must have {limit}, got {shown(value)}", at)
        # -0.0 would be written with its sign.
        return int(value) if value.is_integer() else value
    return value


def constant(keyword: str, value: Any, at: str) -> Any:
    """A value of `enum` or `const`, in which all strings are short and all numbers exact."""
    if isinstance(value, str) and len(value) > bounds.MAX_CONSTANT_CHARS:
        limit = f"at most {bounds.MAX_CONSTANT_CHARS} characters"
        raise wrong(f"has {keyword} with a string that must have {limit}, got {len(value)}", at)
    if isinstance(value, list):
        return [constant(keyword, one, at) for one in value]
    if isinstance(value, dict):
        return {constant(keyword, name, at): constant(keyword, one, at) for name, one in value.items()}
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = _number(keyword, value, at)
        if abs(number) > bounds.MAX_NUMBER:
            raise wrong(f"has {keyword} with a number that must be within ±2^53, got {shown(value)}", at)
        return number
    return value


def size(value: Any) -> int:
    """How many values there are in a constant, itself included."""
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + sum(map(size, value)) if isinstance(value, list) else 1


def strings(keyword: str, value: object, at: str) -> list[str]:
    """The value of `required`, without repetitions."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise wrong(f"has {keyword} that must be a list of strings, got {shown(value)}", at)
    for name in value:
        constant(keyword, name, at)
    return list(dict.fromkeys(value))


def an_object(keyword: str, value: object, at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong(f"has {keyword} that must be an object, got {shown(value)}", at)
    return value


def a_list(keyword: str, value: object, at: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise wrong(f"has {keyword} that must be a list of at least one, got {shown(value)}", at)
    return value
