"""Parses answers whose thoughts and tool calls stand between tags, as Hermes, Qwen and many others write them.

    <think>thoughts</think>text<tool_call>{"name": "now", "arguments": {}}</tool_call>

Text before, between and after calls is content. A call that begins within thoughts ends them. What is between the tags
of a call and is no call becomes content, without the tags. White space before a call, and line breaks after a tag, are
the format's and are dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.parsing.calls.call_object import CallObject
from engine.parsing.calls.reader import CallReader, NotACallError
from engine.parsing.parts import (
    MAX_CALLS,
    CallArguments,
    CallStart,
    Content,
    Part,
    Reasoning,
    first_of,
    held_back,
)
from engine.parsing.spacing import Spacing


@dataclass(frozen=True, slots=True)
class Tags:
    """A format's tags.

    `sections` may stand around calls and mean nothing. `bare`: the character that begins an answer, or what follows a
    call, which is a call without a tag. `separator` may stand behind a call in place of an end tag.
    """

    think: tuple[str, str] = ("<think>", "</think>")
    call: tuple[str, str] = ("<tool_call>", "</tool_call>")
    sections: tuple[str, ...] = ()
    bare: str = ""
    separator: str = ""

    def markers(self, *, thinks: bool, calls: bool) -> tuple[str, ...]:
        """Those that never are content."""
        of_calls = (*self.call, *self.sections) if calls else ()
        return tuple(filter(None, ((*self.think, *of_calls) if thinks else of_calls)))


NewCall = Callable[[int], CallReader]
"""Makes the reader of a call, from its number."""


class TaggedParser:
    """Parses one answer; see the module.

    `thinks`: the tags of thoughts count. `is_thinking`: the prompt has opened the thoughts. `calls`: the tags of calls
    count; `new_call` reads what stands between them. Calls beyond `max_calls` are dropped.
    """

    def __init__(
        self,
        tags: Tags = Tags(),
        *,
        thinks: bool,
        is_thinking: bool = False,
        calls: bool = True,
        new_call: NewCall = CallObject,
        max_calls: int = MAX_CALLS,
    ) -> None:
        self._tags = tags
        self._mode = "reasoning" if is_thinking else "content"
        self._new_call = new_call
        self._max_calls = max_calls
        self._tags_of_content = tags.markers(thinks=thinks, calls=calls)
        self._tags_of_thoughts = tags.markers(thinks=True, calls=calls)
        self._has_no_tag = frozenset(tag[0] for tag in self._tags_of_content).isdisjoint
        self._text = ""
        self._spacing = Spacing(is_after_tag=is_thinking)
        self._call: CallReader | None = None
        self._raw: list[str] = []
        """The text of the call so far, until it is known to be one."""
        self._aside: list[Part] = []
        """Content from within the call, which comes behind it: nothing stands between a call's arguments."""
        self._count = 0
        self._bare = tags.bare if calls else ""
        self._may_be_bare = bool(self._bare)
        """A call may follow without a tag."""
        self._out: list[Part] = []

    def plain_check(self) -> Callable[[str], bool] | None:
        is_plain = self._mode == "content" and not self._text and not self._may_be_bare and self._spacing.is_clear
        return self._has_no_tag if is_plain else None

    def feed(self, text: str) -> list[Part]:
        self._text += text
        while getattr(self, f"_read_{self._mode}")():
            pass
        return self._taken()

    def finish(self, *, is_cut: bool) -> list[Part]:
        if self._mode == "call":
            self._end_call(is_cut=is_cut)
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
        if self._may_be_bare and (begun := self._read_bare()) is not None:
            return begun
        if not self._tags_of_content:
            self._give(self._text)
            self._text = ""
            return False
        marker = self._up_to(self._tags_of_content)
        if marker == self._tags.think[0]:
            return self._enter("reasoning")
        if marker == self._tags.call[0] != "":
            return self._begin_call()
        if marker in self._tags.sections:
            return self._enter("content")
        return marker != ""  # A stray end tag is dropped.

    def _read_bare(self) -> bool | None:
        """Begin a call that has no tag. None if what comes is none."""
        text = self._text.lstrip()
        if not text:
            return False
        if text[0] == self._bare:
            self._text = text
            return self._begin_call()
        self._may_be_bare = any(marker.startswith(text) or text.startswith(marker) for marker in self._tags_of_content)
        return None

    def _read_reasoning(self) -> bool:
        marker = self._up_to(self._tags_of_thoughts)
        if marker == self._tags.think[1]:
            return self._enter("content")
        # Where the model writes a call within its thoughts, it has forgotten to end them.
        if marker == self._tags.call[0] != "":
            return self._begin_call()
        if marker in self._tags.sections[:1]:
            return self._enter("content")
        return marker != ""

    def _enter(self, mode: str) -> bool:
        self._mode = mode
        self._spacing.drop()
        return True

    def _up_to(self, markers: tuple[str, ...]) -> str:
        """Give the text before the first marker, which is returned; empty where there is none yet."""
        text = self._text
        at, marker = first_of(markers, text)
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
        self._call, self._raw = self._new_call(self._count), []
        return True

    def _read_call(self) -> bool:
        """The call itself; then whatever stands in front of the end tag."""
        call = self._call
        assert call is not None
        if not self._text:
            return False
        text, self._text = self._text, ""
        if not call.is_announced:
            self._raw.append(text)
        try:
            call.feed(text)
        except NotACallError:
            return self._not_a_call(call)
        self._add_calls(call.take())
        if not call.is_done:
            return False
        self._give_aside()
        self._text = call.rest
        return self._enter("closing")

    def _add_calls(self, parts: list[Part]) -> None:
        """Add what a reader has read, but for calls beyond the limit."""
        self._count += sum(isinstance(part, CallStart) for part in parts)
        for part in parts:
            if isinstance(part, Content):
                self._aside += self._without_tags(part.text)
            elif isinstance(part, Reasoning) or part.call < self._max_calls:
                self._out.append(part)

    def _give_aside(self) -> None:
        self._out += self._aside
        self._aside = []

    def _without_tags(self, text: str) -> list[Part]:
        """Content from within a call."""
        for tag in self._tags_of_content:
            text = text.replace(tag, "")
        return [Content(text)] if text else []

    def _read_closing(self) -> bool:
        """From the end of the call to its end tag; it may be missing."""
        text = self._text.lstrip()
        ends = tuple(filter(None, (self._tags.call[1], self._tags.separator)))
        end = next((one for one in ends if text.startswith(one)), None)
        if end is not None:
            self._text = text[len(end) :]
        elif ends and any(one.startswith(text) for one in ends):
            return False
        return self._leave_call()

    def _leave_call(self) -> bool:
        self._call = None
        self._may_be_bare = bool(self._bare)
        return self._enter("content")

    def _not_a_call(self, call: CallReader) -> bool:
        """What came since the tag is content, if none of it has been told as a call; else what comes from now on."""
        self._add_calls(call.take())
        if call.is_announced:
            self._text = call.rest
            self._add_calls([part for part in call.finish() if isinstance(part, CallArguments)])
            self._give_aside()
            return self._leave_call()
        self._text = "".join(self._raw)
        self._call, self._may_be_bare = None, False
        return self._enter("content")

    def _end_call(self, *, is_cut: bool) -> None:
        """The answer has ended within a call. If a limit has cut it, nothing is invented."""
        call = self._call
        assert call is not None
        if call.is_announced:
            if not is_cut:
                self._add_calls(call.finish())
            self._give_aside()
            return
        # There may be tags in it.
        self._text, self._call, self._may_be_bare = "".join(self._raw), None, False
        self._enter("content")
        begun = self.feed("")
        self._out = [*begun, *self.finish(is_cut=is_cut)]
