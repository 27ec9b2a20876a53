"""Reads a tool call whose arguments stand between tags, each as bare text, piece by piece, and makes JSON of them.

    <function=weather>
    <parameter=city>
    Rome
    </parameter>
    </function>

A string is handed on while it is written; an argument of another type when it is complete. What stands between the
arguments, and is none, becomes content.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engine.parsing.argument_types import is_text, json_of, kind_of
from engine.parsing.calls.headed_call import MAX_HEADER_CHARS, plain_name
from engine.parsing.calls.reader import CallText, NotACallError
from engine.parsing.parts import CallArguments, CallStart, Content, Part, first_of, held_back
from engine.parsing.spacing import Spacing

Types = Mapping[str, Mapping[str, frozenset[str]]]
"""What the schemas of the tools allow, by the names of tool and argument."""


TAGS_OF_THOUGHTS = ("<think>", "</think>", "<seed:think>", "</seed:think>")
"""Dropped where they stand between arguments."""


@dataclass(frozen=True, slots=True)
class ArgumentHeader:
    """The name of an argument. `is_string`: what the model says of its value, if it says anything."""

    name: str
    is_string: bool | None = None


@dataclass(frozen=True, slots=True)
class Markup:
    """The tags of such a format.

    `name_end` is None where the first argument, or the call's end, ends its name. `argument`: what opens an argument,
    what ends its header, and what closes it. `lined`: a line break behind a header, and one before the end of a value,
    are the format's. `header` reads one; None for what is none. `ends`: other tags that end a call, where its own is
    missing.
    """

    name_end: str | None
    argument: tuple[str, str, str]
    closing: str
    lined: bool
    header: Callable[[str], ArgumentHeader | None]
    ends: tuple[str, ...] = ()

    @property
    def value_ends(self) -> tuple[str, ...]:
        """What ends a value. If its own end is missing, the next argument does, or the call's end, on a new line."""
        opening, _, closing = self.argument
        more = tuple(f"\n{self.closing}{space}{end}" for end in self.ends[:1] for space in ("\n", ""))
        return (*(("\n" + closing,) if self.lined else ()), closing, "\n" + opening, *more)


class MarkedCall(CallText):
    """Call `number` of an answer."""

    def __init__(self, number: int, markup: Markup, types: Types) -> None:
        super().__init__("name")
        self._number = number
        self._markup = markup
        self._tags_between = (markup.argument[0], markup.closing, *markup.ends, *TAGS_OF_THOUGHTS)
        self._value_ends = markup.value_ends
        self._types = types
        self._name = ""
        self._arguments = 0
        self._argument = ArgumentHeader("")
        self._is_first = False
        """Of the value, nothing has come yet."""
        self._value: list[str] | None = None
        """An argument that is not handed on until it is complete."""
        self._spacing = Spacing(is_after_tag=True)
        """Of what stands between the arguments."""

    def take(self) -> list[Part]:
        if self._mode == "name":
            return []
        parts, self._out = self._out, []
        if not self.is_announced:
            self.is_announced = True
            parts.insert(0, CallStart(self._number, self._name))
        return parts

    def finish(self) -> list[Part]:
        if self._mode == "name":
            return []
        if self._mode == "value":
            self._end_value()
        elif rest := self._text.strip():
            self._out.append(Content(rest))
        self._write("}" if self._arguments else "{}")
        self._text = ""
        return self.take()

    def _write(self, text: str) -> None:
        self._out.append(CallArguments(self._number, text))

    # Each returns False where it needs more text.

    def _read_name(self) -> bool:
        markup = self._markup
        ends = (markup.name_end,) if markup.name_end is not None else (markup.argument[0], markup.closing)
        at, end = first_of(ends, self._text)
        if at < 0:
            if len(self._text) > MAX_HEADER_CHARS:
                raise NotACallError
            return False
        self._name = plain_name(self._text[:at].strip("\"' \n"))[0]
        return self._go("between", at + (len(end) if markup.name_end is not None else 0))

    def _go(self, mode: str, at: int) -> bool:
        self._mode, self._text = mode, self._text[at:]
        return True

    def _read_between(self) -> bool:
        markup = self._markup
        tags = self._tags_between
        at, tag = first_of(tags, self._text)
        end = at if at >= 0 else len(self._text) - held_back(self._text, tags)
        self._out += self._spacing.content(self._text[:end])
        if at < 0:
            self._text = self._text[end:]
            return False
        if tag in TAGS_OF_THOUGHTS:
            return self._go("between", at + len(tag))
        self._spacing.drop()
        if tag == markup.argument[0]:
            return self._go("header", at + len(tag))
        self._write("}" if self._arguments else "{}")
        self._text, self.is_done = self._text[at:], True
        return False

    def _read_header(self) -> bool:
        end = self._markup.argument[1]
        at = self._text.find(end)
        if at < 0 and len(self._text) <= MAX_HEADER_CHARS:
            return False
        header = self._markup.header(self._text[:at]) if 0 <= at <= MAX_HEADER_CHARS else None
        if header is None:
            self._mode = "between"
            return True
        self._argument = header
        self._is_first = True
        if self._is_string():
            self._value = None
            self._write(self._key() + '"')
        else:
            self._value = []
        return self._go("value", at + len(end))

    def _is_string(self) -> bool:
        said, types = self._argument.is_string, self._argument_types
        return said or (said is None and is_text(types))

    @property
    def _argument_types(self) -> frozenset[str]:
        return self._types.get(self._name, {}).get(self._argument.name, frozenset())

    def _key(self) -> str:
        self._arguments += 1
        return ("{" if self._arguments == 1 else ", ") + json.dumps(self._argument.name, ensure_ascii=False) + ": "

    def _read_value(self) -> bool:
        markup = self._markup
        if self._is_first and markup.lined:
            if not self._text:
                return False
            # An empty value may have one line break for both.
            if self._text[0] == "\n" and not self._text.startswith("\n" + markup.argument[2]):
                if ("\n" + markup.argument[2]).startswith(self._text):
                    return False
                self._text = self._text[1:]
        self._is_first = False
        ends = self._value_ends
        at, end = first_of(ends, self._text)
        if at < 0:
            keep = held_back(self._text, ends)
            self._add(self._text[: len(self._text) - keep])
            self._text = self._text[len(self._text) - keep :]
            return False
        self._add(self._text[:at])
        self._end_value()
        # What belongs to the next argument, or to the call's end, stays.
        own = end.removeprefix("\n") == markup.argument[2]
        return self._go("between", at + (len(end) if own else 1))

    def _add(self, text: str) -> None:
        if not text:
            return
        if self._value is None:
            self._write(json.dumps(text, ensure_ascii=False)[1:-1])
        else:
            self._value.append(text)

    def _end_value(self) -> None:
        if self._value is None:
            self._write('"')
            return
        text, types = "".join(self._value), self._argument_types
        if self._argument.is_string is False and not types:
            value = text if kind_of(text) else json.dumps(text, ensure_ascii=False)
        else:
            value = json_of(text, types)
        self._write(self._key() + value)
