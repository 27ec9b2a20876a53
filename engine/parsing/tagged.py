"""Parses answers whose thoughts and tool calls stand between tags, as Hermes, Qwen and many others write them.

    <think>thoughts</think>text<tool_call>{"name": "now", "arguments": {}}</tool_call>

Text before, between and after calls is content. A call that begins within thoughts ends them. What is between the tags
of a call and is no call becomes content, without the tags. White space before a call, and line breaks after a tag, are
the format's and are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.parsing.call_object import CallObject, NotACallError
from engine.parsing.parts import MAX_CALLS, Content, Part, Reasoning, held_back
from engine.parsing.spacing import Spacing


@dataclass(frozen=True, slots=True)
class Tags:
    """A format's tags."""

    think: tuple[str, str] = ("<think>", "</think>")
    call: tuple[str, str] = ("<tool_call>", "</tool_call>")


class TaggedParser:
    """Parses one answer; see the module.

    `thinks`: the tags of thoughts count. `is_thinking`: the prompt has opened the thoughts. `calls`: the tags of calls
    count.
    """

    def __init__(self, tags: Tags = Tags(), *, thinks: bool, is_thinking: bool = False, calls: bool = True) -> None:
        self._tags = tags
        self._mode = "reasoning" if is_thinking else "content"
        self._calls = calls
        self._tags_of_content = (tags.think if thinks else ()) + (tags.call if calls else ())
        self._first_characters = frozenset(tag[0] for tag in self._tags_of_content)
        self._text = ""
        self._spacing = Spacing(is_after_tag=is_thinking)
        self._call: CallObject | None = None
        self._raw: list[str] = []
        """The text of the call so far, until it is known to be one."""
        self._count = 0
        self._out: list[Part] = []

    @property
    def is_plain(self) -> bool:
        """Nothing is held back, and what comes is content until a tag begins."""
        return self._mode == "content" and not self._text and self._spacing.is_clear

    def is_plain_text(self, text: str) -> bool:
        return self._first_characters.isdisjoint(text) and text[-1:].strip() != ""

    def feed(self, text: str) -> list[Part]:
        self._text += text
        while getattr(self, f"_read_{self._mode}")():
            pass
        return self._taken()

    def finish(self, *, is_cut: bool) -> list[Part]:
        if self._mode == "call":
            self._end_call()
        elif self._text and self._mode != "closing":  # There it is the beginning of the end tag.
            self._give(self._text)
        if self._mode == "content":
            self._out += self._spacing.rest()
        self._text = ""
        return self._taken()

    def _taken(self) -> list[Part]:
        out, self._out = self._out, []
        return out

    # Each returns False where it needs more text.

    def _read_content(self) -> bool:
        think, call = self._tags.think, self._tags.call
        if not self._tags_of_content:
            self._give(self._text)
            self._text = ""
            return False
        marker = self._up_to(self._tags_of_content)
        if marker == think[0]:
            return self._enter("reasoning")
        if marker == call[0]:
            return self._begin_call()
        return marker != ""  # A stray end tag is dropped.

    def _read_reasoning(self) -> bool:
        think, call = self._tags.think, self._tags.call
        marker = self._up_to((*think, call[0]) if self._calls else think)
        if marker == think[1]:
            return self._enter("content")
        if self._calls and marker == call[0]:
            return self._begin_call()
        return marker != ""

    def _enter(self, mode: str) -> bool:
        self._mode = mode
        self._spacing.drop()
        return True

    def _up_to(self, markers: tuple[str, ...]) -> str:
        """Give the text before the first marker, which is returned; empty where there is none yet."""
        text = self._text
        at, marker = min(((at, marker) for marker in markers if (at := text.find(marker)) >= 0), default=(-1, ""))
        if at < 0:
            at = len(text) - held_back(text, markers)
        self._give(text[:at])
        self._text = text[at + len(marker) :]
        return marker

    def _give(self, text: str) -> None:
        if solid := self._spacing.solid(text):
            self._out.append(Reasoning(solid) if self._mode == "reasoning" else Content(solid))

    def _begin_call(self) -> bool:
        self._enter("call")
        self._call, self._raw = CallObject(self._count), []
        return True

    def _read_call(self) -> bool:
        """The call's JSON; then whatever stands in front of the end tag."""
        assert self._call is not None
        if not self._text:
            return False
        text, self._text = self._text, ""
        if not self._call.is_announced:
            self._raw.append(text)
        try:
            self._call.feed(text)
        except NotACallError:
            return self._not_a_call()
        if self._count < MAX_CALLS:
            self._out += self._call.take()
        if not self._call.is_done:
            return False
        self._text = self._call.rest
        return self._enter("closing")

    def _read_closing(self) -> bool:
        """From the end of the call's object to its tag; it may be missing."""
        text = self._text.lstrip()
        closing = self._tags.call[1]
        if text.startswith(closing):
            self._text = text[len(closing) :]
        elif text and not closing.startswith(text):
            self._text = text
        else:
            return False
        self._count += 1
        return self._enter("content")

    def _not_a_call(self) -> bool:
        """What came since the tag is content, if none of it has been told as a call; else what comes from now on."""
        assert self._call is not None
        if self._call.is_announced:
            self._text = self._call.rest
            self._count += 1
        else:
            self._text = "".join(self._raw)
        self._call = None
        return self._enter("content")

    def _end_call(self) -> None:
        """The answer has ended within a call. Nothing is invented."""
        if self._call is not None and self._call.name is None and self._raw:
            self._mode = "content"
            self._give("".join(self._raw))
