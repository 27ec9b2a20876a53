"""White space around calls and thoughts, which belongs to the format and not to the answer."""

from __future__ import annotations

from engine.parsing.parts import Content, Part


class Spacing:
    """Holds back white space at the end of the content, until it is known whether a call follows.

    Line breaks right behind a tag are dropped, too.
    """

    def __init__(self, *, is_after_tag: bool = False) -> None:
        self._held = ""
        self._is_after_tag = is_after_tag

    @property
    def is_clear(self) -> bool:
        """Nothing is held back, and nothing will be dropped."""
        return not self._held and not self._is_after_tag

    def solid(self, text: str) -> str:
        """What of `text`, the next of the content, can be sent now, with what was held back before it."""
        if self._is_after_tag:
            text = text.lstrip("\n")
        if not text:
            return ""
        self._is_after_tag = False
        solid = text.rstrip()
        if not solid:
            self._held += text
            return ""
        whole, self._held = self._held + solid, text[len(solid) :]
        return whole

    def content(self, text: str) -> list[Part]:
        """The same as a part."""
        solid = self.solid(text)
        return [Content(solid)] if solid else []

    def drop(self) -> None:
        """A tag has come."""
        self._held, self._is_after_tag = "", True

    def rest(self) -> list[Part]:
        """The answer has ended: what was held back belongs to it."""
        rest, self._held = self._held, ""
        return [Content(rest)] if rest else []
