"""Reads a tool call that a model writes as a JSON object, `{"name": …, "arguments": {…}}`, piece by piece."""

from __future__ import annotations

import json
import re

from engine.parsing.calls.headed_call import MAX_HEADER_CHARS
from engine.parsing.calls.json_value import NestedValue
from engine.parsing.calls.reader import CallText, NotACallError
from engine.parsing.parts import CallArguments, CallStart, Content, Part

_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_SCALAR = re.compile(r"[^,}\s]*")

ARGUMENTS = ("arguments", "parameters")
"""Models use either key."""


KEYS = frozenset({"name", "type", "id", "function", *ARGUMENTS})
"""What a call consists of. What a model writes under other keys becomes content."""


class CallObject(CallText):
    """Call `number` of an answer. `name` is None until it is known; the keys may come in any order.

    `is_bare`: no tag says that it is a call; a key that no call has says that it is none.
    """

    def __init__(self, number: int, *, is_bare: bool = False) -> None:
        super().__init__("open")
        self.name: str | None = None
        self._number = number
        self._is_bare = is_bare
        self._key = ""
        self._nested = NestedValue()
        self._left = ""
        """Of a value that belongs to no call."""
        self._has_arguments = False

    def take(self) -> list[Part]:
        """What has come since the last time, as parts; nothing until the name is known."""
        if self.name is None:
            return []
        parts: list[Part] = []
        if not self.is_announced:
            self.is_announced = True
            parts.append(CallStart(self._number, self.name))
        parts += self._out
        self._out.clear()
        return parts

    def finish(self) -> list[Part]:
        """The model has ended its answer within the call. No arguments are `{}`; what it wrote stays."""
        if self.name is None:
            return []
        if not self._has_arguments:
            self._write("{}")
        if rest := self._text.strip():
            self._out.append(Content(rest))
        return self.take()

    # Each returns False where it needs more text.

    def _next(self) -> str:
        """The next character that is no space, which stays; empty where it has not come."""
        match = _SPACE.match(self._text)
        self._text = self._text[match.end() if match else 0 :]
        return self._text[:1]

    def _go(self, state: str, *, skip: int = 0) -> bool:
        self._mode = state
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
            if not self._has_arguments:
                self._write("{}")
            self.is_done = True
            return False
        if found and found != '"':
            raise NotACallError
        whole = _STRING.match(self._text)
        if whole is None:
            return False
        self._key = _loaded(whole[0])
        if self._key not in KEYS:
            if self._is_bare:
                raise NotACallError
            self._out.append(Content(whole[0] + ": "))
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
        if self._key == "name" and self.name is None:
            self.name = _checked(value)
        elif self._key in ARGUMENTS:  # Some models write them as JSON within JSON.
            self._write(value)
        else:
            self._leave(whole[0])
        return self._go("key", skip=whole.end())

    def _read_scalar(self) -> bool:
        whole = _SCALAR.match(self._text)
        end = whole.end() if whole else 0
        if end == len(self._text):
            return False
        if self._key == "name":
            raise NotACallError
        if self._key in ARGUMENTS and self._text[:end] != "null":
            self._write(self._text[:end])
        else:
            self._leave(self._text[:end])
        return self._go("key", skip=end)

    def _read_nested(self) -> bool:
        """An object or a list, which may come over many steps."""
        at = self._nested.read(self._text)
        if self._key in ARGUMENTS:
            self._write(self._text[:at])
        elif self._key == "name":
            raise NotACallError
        else:
            self._left += self._text[:at]
        self._text = self._text[at:]
        if not self._nested.is_done:
            return False
        self._leave(self._left)
        self._left = ""
        self._nested = NestedValue()
        self._mode = "key"
        return True

    def _write(self, text: str) -> None:
        """Of the arguments."""
        if text:
            self._has_arguments = True
            self._out.append(CallArguments(self._number, text))

    def _leave(self, text: str) -> None:
        """Of a key that no call has."""
        if text and self._key not in KEYS:
            self._out.append(Content(text))


def _checked(name: str) -> str:
    """A name that a client may send back."""
    if not 0 < len(name) <= MAX_HEADER_CHARS or "\x00" in name:
        raise NotACallError
    return name


def _loaded(text: str) -> str:
    try:
        value = json.loads(text, strict=False)
    except ValueError:
        raise NotACallError from None
    assert isinstance(value, str)
    return value
