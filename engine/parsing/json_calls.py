"""Parses answers that a grammar has made a JSON list of calls: `[{"name": "now", "parameters": {}}]`."""

from __future__ import annotations

from engine.parsing.call_object import CallObject
from engine.parsing.call_reader import NotACallError
from engine.parsing.parts import MAX_CALLS, Content, Part


class JsonCallsParser:
    """Parses one such answer. What is no such list becomes content."""

    def __init__(self) -> None:
        self._text = ""
        self._call: CallObject | None = None
        self._count = 0
        self._has_failed = False

    def plain_check(self) -> None:
        return None

    def feed(self, text: str) -> list[Part]:
        if self._has_failed:
            return [Content(text)] if text else []
        self._text += text
        parts: list[Part] = []
        while self._text:
            if self._call is None:
                # Between calls there are brackets, commas and white space.
                self._text = self._text.lstrip("[], \t\r\n")
                if not self._text:
                    break
                self._call = CallObject(self._count)
            rest, self._text = self._text, ""
            try:
                self._call.feed(rest)
            except NotACallError:
                self._has_failed = True
                return [*parts, Content(rest)]
            if self._count < MAX_CALLS:
                parts += self._call.take()
            if self._call.is_done:
                self._text, self._call = self._call.rest, None
                self._count += 1
        return parts

    def finish(self, *, is_cut: bool) -> list[Part]:
        return []
