"""Truncated and corrupted calls, in every format: no exception, no lost text, no tag in the answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.parsing.formats import CALL_FORMATS
from engine.parsing.parts import CallStart, Content, Reasoning
from tests.engine.parsing.test_every_format import ARGUMENTS, alike, calls_of, parsed, parser_of
from tests.engine.parsing.written import BARE, WRITERS, parser_name

QUICK = settings(max_examples=25, deadline=None, derandomize=True, database=None)
CALLS = [("now", {}), ("weather", ARGUMENTS)]
Mutation = tuple[str, float, int]
MUTATIONS = st.lists(
    st.tuples(st.sampled_from(["cut", "drop", "insert", "double", "swap"]), st.floats(0, 1), st.integers(1, 30)),
    max_size=4,
)


def tags_of(writer: str) -> tuple[str, ...]:
    return CALL_FORMATS[parser_name(writer)].tags().markers(thinks=True, calls=True)


def corrupted(text: str, mutations: list[Mutation], tags: tuple[str, ...]) -> str:
    junk = ("WORD", "{", "}", '"', "\\", "\n", "<", "]", ")", *tags)
    for kind, where, size in mutations:
        at = int(where * len(text))
        match kind:
            case "cut":
                text = text[:at]
            case "drop":
                text = text[:at] + text[at + size :]
            case "insert":
                text = text[:at] + junk[size % len(junk)] + text[at:]
            case "double":
                text = text[: at + size] + text[at:]
            case _:
                text = text[:at] + text[at + size : at + 2 * size] + text[at : at + size] + text[at + 2 * size :]
    return text


@pytest.mark.parametrize("writer", WRITERS)
@QUICK
@given(mutations=MUTATIONS, is_cut=st.booleans(), thinks=st.booleans(), seed=st.integers(0, 1000))
def test_a_corrupted_answer_has_one_meaning_and_no_tags(
    writer: str, mutations: list[Mutation], is_cut: bool, thinks: bool, seed: int
) -> None:
    tags = tags_of(writer)
    text = ("<think>Thought.</think>" if thinks else "") + ("" if writer in BARE else "Before. ")
    text = corrupted(text + WRITERS[writer](CALLS) + " After.", mutations, tags)
    calls_of(alike(writer, text, seed=seed, is_cut=is_cut, thinks=thinks))
    # Not joined: a tag within a tag may leave one, in two pieces.
    parser = parser_of(writer, thinks=thinks)
    counted = [tag for tag in tags if thinks or tag not in ("<think>", "</think>")]
    for part in parser.feed(text) + parser.finish(is_cut=is_cut):
        if isinstance(part, (Content, Reasoning)):
            assert not any(tag in part.text for tag in counted)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_word_that_stands_anywhere_is_not_lost(writer: str) -> None:
    """It ends up in the content, or in the name or the arguments of a call."""
    text, tags = WRITERS[writer](CALLS), tags_of(writer)
    within = {at + size for tag in tags for at in _places(tag, text) for size in range(1, len(tag))}
    for at in sorted(set(range(len(text))) - within):
        parts = parsed(writer, [f"{text[:at]}WORD{text[at:]}"])
        assert any("WORD" in (part.name if isinstance(part, CallStart) else part.text) for part in parts), text[:at]


def _places(tag: str, text: str) -> list[int]:
    return [at for at in range(len(text)) if text.startswith(tag, at)]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_word_that_is_no_call_is_content(writer: str) -> None:
    for opening in dict.fromkeys(filter(None, tags_of(writer)[2:])):
        (part,) = alike(writer, f"{opening}no call at all")
        assert part == Content("no call at all")
