"""Reads tool calls that a model writes as Python: `[now(), weather(city="Rome", days=3)]`, piece by piece."""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any

from engine.parsing.calls.reader import CallText, NotACallError
from engine.parsing.parts import CallArguments, CallStart, Part

_CALL = re.compile(r"([A-Za-z_][\w.]*)\s*\(\s*")
_CALL_BEGUN = re.compile(r"[A-Za-z_][\w.]*\s*")
_KEY = re.compile(r"([A-Za-z_]\w*)\s*=\s*(?=[^=\s])")
_KEY_BEGUN = re.compile(r"[A-Za-z_]\w*\s*=?\s*")
_ESCAPE = r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[^xuU])"
_IN_STRING = {quote: re.compile(rf"(?:[^\\{quote}]+|{_ESCAPE})*", re.DOTALL) for quote in "'\""}
_ESCAPES = re.compile(_ESCAPE, re.DOTALL)
_HALVES = re.compile(r"[\ud800-\udfff]")
_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "0": "\0", "\n": ""}
_WORDS = {"true": True, "false": False, "null": None}
MAX_ESCAPE_CHARS = 10


class PythonCallList(CallText):
    """Calls from number `first` on, as Python writes them, with named arguments that are literals."""

    def __init__(self, first: int) -> None:
        super().__init__("open")
        self._count = 0
        self._first = first
        self._pending: str | None = None
        """The name of the call that is read, until an argument, or its end, says that it is one."""
        self._is_open = False
        """A call has been given out, and is not complete."""
        self._arguments = 0
        self._key = ""
        self._quote = ""
        self._literal = _Literal()

    def finish(self) -> list[Part]:
        """The model has stopped within a call: its string and its brackets are closed."""
        if not self._is_open:
            return []
        if self._mode == "string":
            self._write(_json_text(_unescaped(self._text)) + '"')
        elif self._mode == "value":
            self._write(self._key + _json_of(self._text.strip()))
        self._write("}" if self._arguments else "{}")
        self._text = ""
        return self.take()

    def _write(self, text: str) -> None:
        if text:
            self._out.append(CallArguments(self._first + self._count - 1, text))

    def _go(self, mode: str, at: int) -> bool:
        self._mode, self._text = mode, self._text[at:]
        return True

    # Each returns False where it needs more text.

    def _read_open(self) -> bool:
        self._text = self._text.lstrip()
        if self._text[:1] not in ("", "["):
            raise NotACallError
        return bool(self._text) and self._go("item", 1)

    def _read_item(self) -> bool:
        self._text = text = self._text.lstrip(", \t\r\n")
        if match := _CALL.match(text):
            self._pending = match[1]
            return self._go("key", match.end())
        if not text:
            return False
        if text[0] == "]" and self._count:
            self._text, self.is_done = text[1:], True
            return False
        begun = _CALL_BEGUN.match(text)
        if begun is None or begun.end() < len(text):
            raise NotACallError
        return False

    def _read_key(self) -> bool:
        self._text = text = self._text.lstrip(", \t\r\n")
        if not text:
            return False
        if text[0] == ")":
            self._announce()
            self._write("}" if self._arguments else "{}")
            self._is_open, self._arguments = False, 0
            return self._go("item", 1)
        match = _KEY.match(text)
        if match is None:
            begun = _KEY_BEGUN.match(text)
            if begun is None or begun.end() < len(text):
                raise NotACallError
            return False
        self._announce()
        self._key = ("{" if not self._arguments else ", ") + json.dumps(match[1]) + ": "
        self._arguments += 1
        quote = text[match.end()]
        if quote not in "'\"":
            return self._go("value", match.end())
        self._quote = quote
        self._write(self._key + '"')
        return self._go("string", match.end() + 1)

    def _announce(self) -> None:
        if self._pending is None:
            return
        self._count += 1
        self._is_open = True
        self._out.append(CallStart(self._first + self._count - 1, self._pending))
        self._pending = None

    def _read_string(self) -> bool:
        match = _IN_STRING[self._quote].match(self._text)
        end = match.end() if match else 0
        self._write(_json_text(_unescaped(self._text[:end])))
        self._text = text = self._text[end:]
        if text[:1] == self._quote:
            self._write('"')
            return self._go("key", 1)
        if len(text) >= MAX_ESCAPE_CHARS:  # A backslash that begins no escape.
            self._write("\\\\")
            self._text = text[1:]
            return True
        return False

    def _read_value(self) -> bool:
        """A number, a word, a list or a dictionary."""
        end = self._literal.end(self._text)
        if end < 0:
            return False
        self._write(self._key + _json_of(self._text[:end].strip()))
        self._literal = _Literal()
        return self._go("key", end)


class _Literal:
    """Finds the end of a literal in text that grows: a comma or bracket outside of it."""

    def __init__(self) -> None:
        self._at = 0
        self._depth = 0
        self._quote = ""

    def end(self, text: str) -> int:
        """Where it ends; -1 if it has not yet."""
        while self._at < len(text):
            found = text[self._at]
            if self._quote:
                if found == "\\":
                    if self._at + 1 == len(text):
                        return -1
                    self._at += 1
                elif found == self._quote:
                    self._quote = ""
            elif found in "'\"":
                self._quote = found
            elif found in ",)]}" and self._depth <= 0:
                return self._at
            else:
                self._depth += (found in "[{(") - (found in ")]}")
            self._at += 1
        return -1


def _json_of(literal: str) -> str:
    try:
        with warnings.catch_warnings(action="ignore"):  # Of escapes that Python does not know.
            value: Any = _WORDS[literal] if literal in _WORDS else ast.literal_eval(literal)
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return json.dumps(literal, ensure_ascii=False)


def _unescaped(text: str) -> str:
    return _ESCAPES.sub(_escaped, text) if "\\" in text else text


def _escaped(match: re.Match[str]) -> str:
    word = match[0][1:]
    if word[0] in "xuU":
        number = int(word[1:], 16)
        return chr(number) if number <= 0x10FFFF else match[0]
    return _SIMPLE.get(word, word if word in "\\'\"" else match[0])


def _json_text(text: str) -> str:
    """`text` inside of a JSON string. Half of a surrogate pair stays an escape: UTF-8 cannot have it."""
    return json.dumps(text, ensure_ascii=_HALVES.search(text) is not None)[1:-1]
