"""Answers with thoughts and calls between tags: what is found in them, however the text is cut."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.parsing.parts import MAX_CALLS, CallArguments, CallStart, Content, Part, Reasoning, TextParser, joined
from engine.parsing.tagged import TaggedParser, Tags

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
WEATHER = [CallStart(0, "weather"), CallArguments(0, '{"city": "Rome"}')]


def parsed(parser: TextParser, pieces: Iterable[str], *, is_cut: bool = False) -> list[Part]:
    """The parts that a parser finds in `pieces`."""
    parts: list[Part] = []
    for piece in pieces:
        parts += parser.feed(piece)
    return joined(parts + parser.finish(is_cut=is_cut))


def found(text: str, *, is_cut: bool = False, thinks: bool = True, is_thinking: bool = False) -> list[Part]:
    """The parts of `text`, which are the same in one piece and character by character."""
    whole = parsed(TaggedParser(thinks=thinks, is_thinking=is_thinking), [text], is_cut=is_cut)
    single = parsed(TaggedParser(thinks=thinks, is_thinking=is_thinking), text, is_cut=is_cut)
    assert single == whole
    return whole


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello.", [Content("Hello.")]),
        (CALL, WEATHER),
        ("I look.\n\n" + CALL, [Content("I look."), *WEATHER]),
        (CALL + "\nDone.", [*WEATHER, Content("Done.")]),
        ("<think>\nHm.\n</think>\n\nYes.", [Reasoning("Hm."), Content("Yes.")]),
        ("<think>\nHm.\n</think>\n\n" + CALL, [Reasoning("Hm."), *WEATHER]),
        ("<think>Hm." + CALL, [Reasoning("Hm."), *WEATHER]),
        ("a <b> and a <tool", [Content("a <b> and a <tool")]),
        ("ends in space \n", [Content("ends in space \n")]),
        ('<tool_call>{"name": "now"}</tool_call>', [CallStart(0, "now"), CallArguments(0, "{}")]),
        ('<tool_call>{"name": "now", "arguments": null}</tool_call>', [CallStart(0, "now"), CallArguments(0, "{}")]),
        (
            '<tool_call>{"arguments": {"city": "Rome"}, "name": "weather"}</tool_call>',
            [CallStart(0, "weather"), CallArguments(0, '{"city": "Rome"}')],
        ),
        (
            '<tool_call>{"name": "say", "arguments": {"text": "</tool_call> \\" 서울 \\u00e9"}}</tool_call>',
            [CallStart(0, "say"), CallArguments(0, '{"text": "</tool_call> \\" 서울 \\u00e9"}')],
        ),
        (
            '<tool_call>{"name": "say", "arguments": "{\\"text\\": \\"x\\"}"}</tool_call>',
            [CallStart(0, "say"), CallArguments(0, '{"text": "x"}')],
        ),
        ("<tool_call>no call</tool_call> ok", [Content("no call ok")]),
        ('<tool_call>{"arguments": {}}</tool_call>', [Content('{"arguments": {}}')]),
        ('<tool_call>{"name": 3}</tool_call>', [Content('{"name": 3}')]),
        (
            CALL + CALL,
            [*WEATHER, CallStart(1, "weather"), CallArguments(1, '{"city": "Rome"}')],
        ),
    ],
)
def test_an_answer_is_taken_apart(text: str, expected: list[Part]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize("end", range(1, len(CALL)))
def test_a_cut_call_has_what_came_and_nothing_invented(end: int) -> None:
    parts = found(CALL[:end], is_cut=True)
    calls = [part for part in parts if isinstance(part, CallStart)]
    text = "".join(part.text for part in parts if isinstance(part, CallArguments))
    assert '{"city": "Rome"}'.startswith(text)
    if calls:
        assert not [part for part in parts if isinstance(part, Content)]
    assert "<tool_call>" not in "".join(part.text for part in parts if isinstance(part, Content))


def test_thoughts_that_the_prompt_has_opened() -> None:
    assert found("Hm.</think>Yes.", is_thinking=True) == [Reasoning("Hm."), Content("Yes.")]


def test_tags_are_text_where_they_mean_nothing() -> None:
    parser = TaggedParser(thinks=False, calls=False)
    text = "<think>a</think>" + CALL
    assert parsed(parser, text) == [Content(text)]


def test_plain_text_is_not_held_back() -> None:
    parser = TaggedParser(thinks=True)
    check = parser.plain_check()
    assert check is not None
    assert check(" plain\n\nand more")
    assert parser.feed("Some plain") == [Content("Some plain")]
    assert parser.feed(" text <") == [Content(" text")]
    assert parser.plain_check() is None, "something is held back"
    assert not check("a < b")


def test_what_may_begin_a_tag_depends_on_the_formats_tags() -> None:
    parser = TaggedParser(Tags(think=("[THINK]", "[/THINK]")), thinks=True, calls=False)
    check = parser.plain_check()
    assert check is not None
    assert not check("[THINK")
    assert check("a < b")
    without_tags = TaggedParser(thinks=False, calls=False).plain_check()
    assert without_tags is not None
    assert without_tags("[a]\n<b>")


def test_arguments_arrive_in_pieces() -> None:
    parser = TaggedParser(thinks=False)
    parser.feed('<tool_call>{"name": "say", "arguments": {"text": "')
    sizes = [sum(len(part.text) for part in parser.feed("word ") if isinstance(part, CallArguments)) for _ in range(9)]
    assert sizes == [5] * 9


def test_the_calls_of_an_answer_are_bounded() -> None:
    parts = parsed(TaggedParser(thinks=False), [CALL] * (MAX_CALLS + 5))
    assert len([part for part in parts if isinstance(part, CallStart)]) == MAX_CALLS


FRAGMENTS = ("<think>", "</think>", "<tool_call>", "</tool_call>", CALL, '{"name": "f", ', '"arguments": ', "{}", "}")
TEXT = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=8), max_size=12).map("".join)


@given(text=TEXT, cuts=st.lists(st.integers(1, 9), min_size=1), is_cut=st.booleans())
def test_cutting_does_not_matter_and_no_tag_gets_out(text: str, cuts: list[int], is_cut: bool) -> None:
    pieces: list[str] = []
    at = 0
    while at < len(text):
        size = cuts[len(pieces) % len(cuts)]
        pieces.append(text[at : at + size])
        at += size
    whole = parsed(TaggedParser(thinks=True), [text], is_cut=is_cut)
    assert parsed(TaggedParser(thinks=True), pieces, is_cut=is_cut) == whole
    started = 0
    for part in whole:
        if isinstance(part, CallStart):
            assert part.call == started
            started += 1
        elif isinstance(part, CallArguments):
            assert part.call == started - 1


@given(value=st.recursive(st.text() | st.integers() | st.booleans(), lambda inner: st.dictionaries(st.text(), inner)))
def test_any_arguments_arrive_as_they_were_written(value: object) -> None:
    written = json.dumps({"value": value}, ensure_ascii=False)
    text = f'<tool_call>{{"name": "f", "arguments": {written}}}</tool_call>'
    assert found(text) == [CallStart(0, "f"), CallArguments(0, written)]


@pytest.mark.parametrize("name", ["", "a\\u0000b", "x" * 257])
def test_a_name_that_no_client_could_send_back_makes_no_call(name: str) -> None:
    text = f'{{"name": "{name}", "arguments": {{}}}}'
    assert found(f"<tool_call>{text}</tool_call>") == [Content(text)]
