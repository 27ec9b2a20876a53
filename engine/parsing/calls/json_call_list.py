"""Reads several tool calls that stand in one list of JSON objects: `[{"name": …}, …]`."""

from __future__ import annotations

from engine.parsing.calls.call_object import CallObject
from engine.parsing.calls.reader import CallText, NotACallError
from engine.parsing.parts import CallArguments, Part


class JsonCallList(CallText):
    """Calls from number `first` on, as JSON objects in a list."""

    def __init__(self, first: int) -> None:
        super().__init__("list")
        self._number = first
        self._is_open = False
        self._call: CallObject | None = None
        self._raw: list[str] = []
        """The text of the call so far."""

    def _read_list(self) -> bool:
        if self._call is not None:
            return self._read_call(self._call)
        self._text = self._text.lstrip(", \t\r\n" if self._is_open else None)
        if not self._text:
            return False
        if not self._is_open:
            if self._text[0] != "[":
                raise NotACallError
            self._text, self._is_open = self._text[1:], True
        elif self._text[0] == "{":
            self._call, self._raw = CallObject(self._number), []
        elif not self.is_announced and not self._out:
            raise NotACallError
        else:
            self._text, self.is_done = self._text.removeprefix("]"), True
        return True

    def _read_call(self, call: CallObject) -> bool:
        rest, self._text = self._text, ""
        if not rest:
            return False
        self._raw.append(rest)
        try:
            call.feed(rest)
        except NotACallError:
            self._out += call.take()
            self._text = call.rest if call.is_announced else "".join(self._raw)
            self._out += [part for part in call.finish() if isinstance(part, CallArguments)]
            raise
        self._out += call.take()
        if not call.is_done:
            return False
        self._text, self._call = call.rest, None
        self._number += 1
        return True

    def finish(self) -> list[Part]:
        return self._call.finish() if self._call is not None else []
