"""Spintax: one text that stands for many, `(Start|Run) (it|the server)`; to draw from, and to recognise with.

Groups nest; an empty alternative makes a group optional.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Mapping, Sequence

from training.language.korean import particle

SLOT = re.compile(r"\{(r?\d+)(?::(~?)(\w+))?\}")

Part = str | list["Parts"]
Parts = list[Part]
"""Literal texts, and groups: a group is a list of alternatives."""


class SpintaxError(ValueError):
    """A parenthesis that opens or closes nothing."""


@functools.cache
def parse(text: str) -> tuple[Part, ...]:
    """The tree of `text`. Raises `SpintaxError`. A group without `|` is kept as written: `main()`."""
    parts, end = _sequence(text, 0, inside=False)
    if end != len(text):
        raise SpintaxError(f"a parenthesis closes nothing at {end}: {text!r}")
    return tuple(parts)


def _sequence(text: str, at: int, *, inside: bool) -> tuple[Parts, int]:
    parts: Parts = []
    literal = ""
    while at < len(text):
        character = text[at]
        if character == "(":
            group, at = _group(text, at + 1)
            if len(group) == 1:
                parts += [literal + "(", *group[0]]
                literal = ")"
            else:
                parts += [literal, group]
                literal = ""
        elif character == ")" or (character == "|" and inside):
            break
        else:
            literal += character
            at += 1
    return [*parts, literal], at


def _group(text: str, at: int) -> tuple[list[Parts], int]:
    alternatives: list[Parts] = []
    while True:
        alternative, at = _sequence(text, at, inside=True)
        alternatives.append(alternative)
        if at >= len(text):
            raise SpintaxError(f"a parenthesis is not closed: {text!r}")
        at += 1
        if text[at - 1] == ")":
            return alternatives, at


def draw(text: str, rng: random.Random) -> str:
    """One of the texts, each alternative as likely as its neighbours; runs of spaces become one."""
    return re.sub(r" +", " ", _draw(list(parse(text)), rng)).strip()


def _draw(sequence: Parts, rng: random.Random) -> str:
    return "".join(part if isinstance(part, str) else _draw(rng.choice(part), rng) for part in sequence)


Words = Mapping[str, Sequence[str]]
"""What may stand in a slot such as `{city}`, by its name."""


def pattern(text: str, words: Words | None = None) -> re.Pattern[str]:
    """Matches, once `normalised`, just the texts that `draw` gives with one of its `words` in each slot."""
    return re.compile(_pattern(list(parse(text)), words or {}))


def _pattern(sequence: Parts, words: Words) -> str:
    return "".join(
        _literal(part, words) if isinstance(part, str) else "(?:" + "|".join(_pattern(one, words) for one in part) + ")"
        for part in sequence
    )


def _literal(text: str, words: Words) -> str:
    """Every second piece of the text is what stands in braces: a slot's name, or just that."""
    pieces = re.split(r"\{(\w+)\}", text)
    return "".join(
        "(?:" + "|".join(normalised(word) for word in words.get(piece, (piece,))) + ")" if at % 2 else normalised(piece)
        for at, piece in enumerate(pieces)
    )


def normalised(text: str) -> str:
    """Without case, spaces and punctuation: what two questions may differ in and still be the same question."""
    return "".join(character for character in text.casefold() if character.isalnum())


def filled(template: str, values: Mapping[str, str | int | float]) -> str:
    """The template with its slots filled; a Korean particle behind a slot takes the form that fits the value."""

    def one(found: re.Match[str]) -> str:
        name, is_alone, form = found.groups()
        value = str(values[name])
        if form is None:
            return value
        return particle(value, form) if is_alone else value + particle(value, form)

    return SLOT.sub(one, template)
