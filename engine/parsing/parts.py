"""What a parser finds in a model's text, and what every parser offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Content:
    """Text of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Text that the model thought."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """A tool call begins. `call` counts the calls of an answer, from 0. `id`: where the format has ids of its own."""

    call: int
    name: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class CallArguments:
    """More of a call's arguments, as the model wrote them."""

    call: int
    text: str


Part = Content | Reasoning | CallStart | CallArguments

MAX_CALLS = 128
"""Further calls of one answer are dropped."""


class TextParser(Protocol):
    """Parses one answer. The parts that it returns, joined, do not depend on how the text was cut."""

    def plain_check(self) -> Callable[[str], bool] | None:
        """What tells, until more is fed, of a text whether it would come back as it is, as content; None: none would.

        The text is not empty and does not end with white space.
        """

    def feed(self, text: str) -> list[Part]:
        """The parts that `text`, the next piece of the answer, completes."""

    def finish(self, *, is_cut: bool) -> list[Part]:
        """What was held back. `is_cut`: the answer was ended by a limit, not by the model."""


def joined(parts: list[Part]) -> list[Part]:
    """`parts` with neighbours of one kind merged."""
    out: list[Part] = []
    for part in parts:
        last = out[-1] if out else None
        match last, part:
            case Content(), Content():
                out[-1] = Content(last.text + part.text)
            case Reasoning(), Reasoning():
                out[-1] = Reasoning(last.text + part.text)
            case CallArguments(), CallArguments() if last.call == part.call:
                out[-1] = CallArguments(last.call, last.text + part.text)
            case _:
                out.append(part)
    return out


def first_of(markers: tuple[str, ...], text: str) -> tuple[int, str]:
    """Where the first of `markers` stands in `text`, and which; of several at one place the longest. -1 for none."""
    at, _, marker = min(((at, -len(one), one) for one in markers if (at := text.find(one)) >= 0), default=(-1, 0, ""))
    return at, marker


def held_back(text: str, markers: tuple[str, ...]) -> int:
    """How many characters at the end of `text` may be the beginning of one of `markers`."""
    longest = max(map(len, markers)) - 1
    for size in range(min(longest, len(text)), 0, -1):
        tail = text[-size:]
        if any(marker.startswith(tail) for marker in markers):
            return size
    return 0
