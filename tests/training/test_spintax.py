"""Spintax draws just the texts that it stands for, and recognises them."""

from __future__ import annotations

import random

import pytest

from training.language.spintax import SpintaxError, draw, normalised, parse, pattern


def drawn(text: str) -> set[str]:
    rng = random.Random(1)
    return {draw(text, rng) for _ in range(200)}


def test_each_alternative_is_drawn_and_nothing_else() -> None:
    assert drawn("(Start|Run (it|the server)) now") == {"Start now", "Run it now", "Run the server now"}


def test_an_empty_alternative_makes_a_group_optional() -> None:
    assert drawn("Say (again |)please") == {"Say again please", "Say please"}


def test_parentheses_without_alternatives_stay() -> None:
    assert drawn("call main() (once)") == {"call main() (once)"}


@pytest.mark.parametrize("text", ["(a|b", "a)", "((a|b)"])
def test_an_unbalanced_parenthesis_is_refused(text: str) -> None:
    with pytest.raises(SpintaxError):
        parse(text)


def test_what_is_drawn_is_recognised_whatever_its_case_and_marks() -> None:
    text = "(How|Where) do I (start|run (it|that))(?|)"
    assert all(pattern(text).fullmatch(normalised(one.upper() + " !")) for one in drawn(text))
    assert not pattern(text).fullmatch(normalised("How do I stop it?"))


def test_a_slot_matches_its_words() -> None:
    weather = pattern("Weather in {city}?", {"city": ["New York", "Oslo"]})
    assert weather.fullmatch(normalised("weather in New York"))
    assert not weather.fullmatch(normalised("weather in Paris"))
