"""Reads a tool call whose name stands in front of its arguments, `name<separator>{…}`, piece by piece."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from engine.parsing.calls.json_value import NestedValue
from engine.parsing.calls.reader import NotACallError
from engine.parsing.parts import CallArguments, CallStart, Part

MAX_HEADER_CHARS = 256
NAME = re.compile(r"[\w.:/-]+")
"""More than clients may declare: where a model invents a name, the client can tell it that there is no such tool."""

Named = tuple[str, str | None]
"""A call's name, and its id if the format has ids of its own."""


def plain_name(header: str) -> Named:
    """A header that is the name alone."""
    name = header.strip()
    if not NAME.fullmatch(name):
        raise NotACallError
    return name, None


@dataclass(frozen=True, slots=True)
class Header:
    """How a call begins: its name, up to one of `ends`. An end that is `kept` begins the arguments.

    `closing`: the call's end, where there may be no arguments at all. `named` reads the header.
    """

    ends: tuple[str, ...]
    kept: tuple[str, ...] = ()
    closing: str = ""
    named: Callable[[str], Named] = plain_name


class HeadedCall:
    """Call `number` of an answer."""

    def __init__(self, number: int, header: Header) -> None:
        self.is_done = False
        self.is_announced = False
        self._number = number
        self._header = header
        self._text = ""
        self._named: Named | None = None
        self._value = NestedValue()
        self._has_begun = False
        """The arguments have."""
        self._has_arguments = False
        self._out: list[str] = []

    @property
    def rest(self) -> str:
        return self._text

    def feed(self, text: str) -> None:
        self._text += text
        if self._named is None and not self._read_header():
            return
        if not self._has_begun and not self._begin():
            return
        at = self._value.read(self._text)
        self._out.append(self._text[:at])
        self._text = self._text[at:]
        self.is_done = self._value.is_done

    def _read_header(self) -> bool:
        header = self._header
        ends = [(at, -len(end), end) for end in header.ends if (at := self._text.find(end)) >= 0]
        if not ends:
            if len(self._text) > MAX_HEADER_CHARS:
                raise NotACallError
            return False
        at, _, end = min(ends)
        self._named = header.named(self._text[:at])
        self._text = self._text[at if end in header.kept else at + len(end) :]
        return True

    def _begin(self) -> bool:
        """Whether the arguments have begun. Raises `NotACallError`."""
        text = self._text.lstrip()
        closing = self._header.closing
        if not text:
            return False
        if text[0] == "{":
            self._text, self._has_begun = text, True
            return True
        if closing and text.startswith(closing):
            self._text, self._has_begun, self.is_done = text, True, True
            return False
        if closing and closing.startswith(text):
            return False
        raise NotACallError

    def take(self) -> list[Part]:
        if self._named is None or not self._has_begun:
            return []
        parts: list[Part] = []
        if not self.is_announced:
            self.is_announced = True
            parts.append(CallStart(self._number, *self._named))
        if self._out and (text := "".join(self._out)):
            self._has_arguments = True
            parts.append(CallArguments(self._number, text))
            self._out.clear()
        elif self.is_done:
            parts += self.finish()
        return parts

    def finish(self) -> list[Part]:
        if self._has_arguments or not self.is_announced:
            return []
        self._has_arguments = True
        return [CallArguments(self._number, "{}")]
