"""Reads a tool call that a model writes as a JSON object, `{"name": …, "arguments": {…}}`, piece by piece."""

from __future__ import annotations

import json
import re

from engine.parsing.parts import CallArguments, CallStart, Part

_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_IN_STRING = re.compile(r'[^"\\]*')
_OUTSIDE = re.compile(r'[^"{}\[\]]*')
_SCALAR = re.compile(r"[^,}\s]*")

ARGUMENTS = ("arguments", "parameters")
"""Models use either key."""


class NotACallError(Exception):
    """The text is not such an object."""


class CallObject:
    """Call `number` of an answer. `name` is None until it is known; the keys may come in any order.

    Strings are followed, so that nothing inside one ends the object.
    """

    def __init__(self, number: int) -> None:
        self.name: str | None = None
        self.is_done = False
        self.is_announced = False
        """Its start has been taken."""
        self._number = number
        self._text = ""
        """What has come and is not read yet."""
        self._state = "open"
        self._key = ""
        self._depth = 0
        self._is_in_string = False
        self._arguments: list[str] = []
        """What was written of the arguments, and not taken yet."""
        self._has_arguments = False

    @property
    def rest(self) -> str:
        """What came after the object."""
        return self._text

    def feed(self, text: str) -> None:
        """Read more. Raises `NotACallError`."""
        self._text += text
        while not self.is_done and getattr(self, f"_read_{self._state}")():
            pass

    def take(self) -> list[Part]:
        """What has come since the last time, as parts; nothing until the name is known."""
        if self.name is None:
            return []
        parts: list[Part] = []
        if not self.is_announced:
            self.is_announced = True
            parts.append(CallStart(self._number, self.name))
        if self.is_done and not self._has_arguments:
            self._has_arguments = True
            self._arguments.append("{}")
        if text := "".join(self._arguments):
            parts.append(CallArguments(self._number, text))
            self._arguments.clear()
        return parts

    # Each returns False where it needs more text.

    def _next(self) -> str:
        """The next character that is no space, which stays; empty where it has not come."""
        match = _SPACE.match(self._text)
        self._text = self._text[match.end() if match else 0 :]
        return self._text[:1]

    def _go(self, state: str, *, skip: int = 0) -> bool:
        self._state = state
        self._text = self._text[skip:]
        return True

    def _read_open(self) -> bool:
        found = self._next()
        if found and found != "{":
            raise NotACallError
        return bool(found) and self._go("key", skip=1)

    def _read_key(self) -> bool:
        found = self._next()
        if found == ",":
            return self._go("key", skip=1)
        if found == "}":
            self._text = self._text[1:]
            if self.name is None:
                raise NotACallError
            self.is_done = True
            return False
        if found and found != '"':
            raise NotACallError
        whole = _STRING.match(self._text)
        if whole is None:
            return False
        self._key = _loaded(whole[0])
        return self._go("colon", skip=whole.end())

    def _read_colon(self) -> bool:
        found = self._next()
        if found and found != ":":
            raise NotACallError
        return bool(found) and self._go("value", skip=1)

    def _read_value(self) -> bool:
        found = self._next()
        if not found:
            return False
        return self._go("nested" if found in "{[" else "string" if found == '"' else "scalar")

    def _read_string(self) -> bool:
        whole = _STRING.match(self._text)
        if whole is None:
            return False
        value = _loaded(whole[0])
        if self._key == "name":
            self.name = value
        elif self._key in ARGUMENTS:  # Some models write them as JSON within JSON.
            self._has_arguments = bool(value)
            self._arguments.append(value)
        return self._go("key", skip=whole.end())

    def _read_scalar(self) -> bool:
        whole = _SCALAR.match(self._text)
        end = whole.end() if whole else 0
        if end == len(self._text):
            return False
        if self._key == "name":
            raise NotACallError
        if self._key in ARGUMENTS and self._text[:end] != "null":
            self._has_arguments = True
            self._arguments.append(self._text[:end])
        return self._go("key", skip=end)

    def _read_nested(self) -> bool:
        """An object or a list, which may come over many steps."""
        text, at = self._text, 0
        while at < len(text):
            if self._is_in_string:
                at = _end(_IN_STRING, text, at)
                if text.startswith("\\", at):
                    if at + 1 == len(text):
                        break
                    at += 2
                elif at < len(text):
                    self._is_in_string = False
                    at += 1
                continue
            at = _end(_OUTSIDE, text, at)
            if at == len(text):
                break
            found = text[at]
            at += 1
            self._is_in_string = found == '"'
            self._depth += (found in "{[") - (found in "}]")
            if not self._depth:
                break
        if self._key in ARGUMENTS:
            self._has_arguments = True
            self._arguments.append(text[:at])
        elif self._key == "name":
            raise NotACallError
        self._text = text[at:]
        if self._depth:
            return False
        self._state = "key"
        return True


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _loaded(text: str) -> str:
    try:
        value = json.loads(text, strict=False)
    except ValueError:
        raise NotACallError from None
    assert isinstance(value, str)
    return value
