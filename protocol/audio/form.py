"""From the fields of a form, which are all text, to the object that a request model is made of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from protocol.errors import Fault, TwowireError
from protocol.validation.request import quoted

LISTS = ("timestamp_granularities", "include", "keywords", "languages", "known_speaker_names")
"""Fields that hold lists, known to OpenAI. Their names may end with `[]`; each item is a field of the form."""

TEXTS = ("model", "language", "prompt", "response_format", "hotwords", "to_language")
"""Fields that hold a text, whatever it looks like."""

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
MAX_NUMBER_CHARS = 40


def object_of_form(fields: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The object that `fields` describe: each name with all the values that the form has for it, in order.

    A value that looks like a number, true, false or null in JSON is that, unless its field holds a text. Raises
    `TwowireError` for a field that is given twice and holds no list.
    """
    found: dict[str, Any] = {}
    for name, values in fields.items():
        plain = name.removesuffix("[]")
        if name != plain or plain in LISTS:
            found[plain] = [*found.get(plain, []), *values]
        elif len(values) > 1:
            message = f"{plain[:60]} is given {len(values)} times; it takes one value."
            raise TwowireError(Fault.INVALID_VALUE, message, param=plain[:60])
        elif plain in TEXTS:
            found[plain] = values[0]
        else:
            found[plain] = _scalar(values[0])
    return found


def _scalar(text: str) -> Any:
    if text in ("true", "false", "True", "False"):
        return text in ("true", "True")
    if text == "null":
        return None
    if len(text) <= MAX_NUMBER_CHARS and (number := _NUMBER.fullmatch(text)):
        return float(text) if number[1] or number[2] else int(text)
    return text


def decoded(name: str, value: bytes) -> str:
    """The text of a form's field. Raises `TwowireError` (400) if it is not UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        message = f"{quoted(name)} is not valid UTF-8 (byte {error.start})."
        raise TwowireError(Fault.INVALID_VALUE, message, param=name[:60]) from None
