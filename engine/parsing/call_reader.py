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
