"""What reads a call, in whichever form, behind the tag that opens it."""

from __future__ import annotations

from typing import Protocol

from engine.parsing.parts import Part


class NotACallError(Exception):
    """The text is no call."""


class CallReader(Protocol):
    """Reads one call, or several that stand in one list, piece by piece."""

    is_done: bool
    is_announced: bool
    """The start of a call has been taken."""

    @property
    def rest(self) -> str:
        """The text that came and is not read; behind the call, once that is done."""

    def feed(self, text: str) -> None:
        """Read more. Raises `NotACallError`; if calls have been taken, `rest` is what is left."""

    def take(self) -> list[Part]:
        """What has come since the last time; nothing until the name is known."""

    def finish(self) -> list[Part]:
        """What completes the call when the model, not a limit, has ended the answer within it."""


class CallText:
    """The text of a call as it comes, read step by step: the base of most `CallReader`s.

    `_mode` names the step: `_read_MODE` reads on, and returns False where it needs more text.
    """

    def __init__(self, mode: str) -> None:
        self.is_done = False
        self.is_announced = False
        self._mode = mode
        self._text = ""
        """What has come and is not read yet."""
        self._out: list[Part] = []
        """What was read, and is not taken yet."""

    @property
    def rest(self) -> str:
        return self._text

    def feed(self, text: str) -> None:
        self._text += text
        while not self.is_done and getattr(self, f"_read_{self._mode}")():
            pass

    def take(self) -> list[Part]:
        parts, self._out = self._out, []
        self.is_announced = self.is_announced or bool(parts)
        return parts
