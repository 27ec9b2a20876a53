"""Follows a JSON object or list in text that comes piece by piece, up to its end."""

from __future__ import annotations

import re

_IN_STRING = re.compile(r'[^"\\]*')
_OUTSIDE = re.compile(r'[^"{}\[\]]*')


class NestedValue:
    """One object or list. Strings are followed, so that nothing inside one ends it."""

    def __init__(self) -> None:
        self.is_done = False
        self._depth = 0
        self._is_in_string = False

    def read(self, text: str) -> int:
        """How many characters of `text`, the next of the answer, belong to it; the rest must come again.

        Only a backslash at the end of `text` is left although it belongs to it.
        """
        at = 0
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
                self.is_done = True
                break
        return at


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at
