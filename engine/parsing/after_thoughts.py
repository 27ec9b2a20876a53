"""Parses the content of an answer that begins with thoughts, by a parser that does not know of those."""

from __future__ import annotations

from engine.parsing.parts import Content, Part, TextParser


class AfterThoughts:
    """Two parsers, one behind the other: the first splits off the thoughts, the second parses the content."""

    def __init__(self, thoughts: TextParser, content: TextParser) -> None:
        self._thoughts = thoughts
        self._content = content

    def plain_check(self) -> None:
        return None

    def feed(self, text: str) -> list[Part]:
        return self._through(self._thoughts.feed(text))

    def finish(self, *, is_cut: bool) -> list[Part]:
        return self._through(self._thoughts.finish(is_cut=is_cut)) + self._content.finish(is_cut=is_cut)

    def _through(self, parts: list[Part]) -> list[Part]:
        return [
            inner
            for part in parts
            for inner in (self._content.feed(part.text) if isinstance(part, Content) else [part])
        ]
