"""Parses answers that a grammar has made a JSON list of calls: `[{"name": "now", "parameters": {}}]`."""

from __future__ import annotations

from engine.parsing.calls.call_object import CallObject
from engine.parsing.calls.reader import NotACallError
from engine.parsing.parts import MAX_CALLS, CallArguments, Content, Part


class JsonCallsParser:
    """Parses one such answer. What is no such list becomes content."""

    def __init__(self) -> None:
        self._text = ""
        self._call: CallObject | None = None
        self._raw = ""
        """The text of the call so far, until it is known to be one."""
        self._aside: list[Part] = []
        """Content from within the call, which comes behind it."""
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
                self._call, self._raw = CallObject(self._count), ""
            parts += self._read(self._call)
        return parts

    def _read(self, call: CallObject) -> list[Part]:
        """What `_text` adds to the call."""
        text, self._text = self._text, ""
        is_dropped = self._count >= MAX_CALLS
        self._raw = "" if call.is_announced or is_dropped else self._raw + text
        try:
            call.feed(text)
        except NotACallError:
            self._has_failed = True
            parts = self._taken(call)
            if call.is_announced:
                parts += [part for part in call.finish() if isinstance(part, CallArguments)]
            rest = call.rest if call.is_announced else self._raw
            return parts + self._given_aside() + ([Content(rest)] if rest else [])
        parts = self._taken(call)
        if call.is_done:
            parts += self._given_aside()
            self._text, self._call = call.rest, None
            self._count += 1
        return parts

    def _taken(self, call: CallObject) -> list[Part]:
        if self._count >= MAX_CALLS:
            return []
        taken = call.take()
        self._aside += [part for part in taken if isinstance(part, Content)]
        return [part for part in taken if not isinstance(part, Content)]

    def finish(self, *, is_cut: bool) -> list[Part]:
        if self._call is None or self._has_failed:
            return []
        if not self._call.is_announced:
            return [Content(self._raw)] if self._raw else []
        finished = [] if is_cut else self._call.finish()
        parts: list[Part] = [part for part in finished if isinstance(part, CallArguments)]
        return parts + self._given_aside()

    def _given_aside(self) -> list[Part]:
        aside, self._aside = self._aside, []
        return aside
