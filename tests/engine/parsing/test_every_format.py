"""Every call format: what is written arrives, however its text is cut into pieces."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from engine.parsing.argument_types import argument_types
from engine.parsing.formats import CALL_FORMATS
from engine.parsing.parts import CallArguments, CallStart, Content, Part, joined
from engine.parsing.tagged import TaggedParser
from tests.engine.parsing.written import BARE, WRITERS, Call, parser_name

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "exact": {"type": "boolean"},
        "more": {"type": ["object", "null"]},
        "list": {"type": "array"},
    },
}
TYPES = {name: argument_types(SCHEMA) for name in ("weather", "now")}
ARGUMENTS: dict[str, Any] = {
    "city": 'Rome \\ "서울" 😀\n<b>{x}</b>\t}',
    "days": 3,
    "exact": True,
    "more": {"a": [1, {"b": "}<"}], "c": None},
    "list": ["x", 2.5],
}


def parser_of(writer: str, *, thinks: bool = False) -> TaggedParser:
    found = CALL_FORMATS[parser_name(writer)]
    return TaggedParser(found.tags(), thinks=thinks, new_call=lambda number: found.new_call(TYPES, number))


def pieces_of(text: str, seed: int) -> Iterator[str]:
    rng, at = random.Random(seed), 0
    while at < len(text):
        size = rng.choice((1, 1, 2, 3, 5, 8, 40))
        yield text[at : at + size]
        at += size


def parsed(writer: str, pieces: Iterable[str], *, is_cut: bool = False, thinks: bool = False) -> list[Part]:
    parser = parser_of(writer, thinks=thinks)
    parts = [part for piece in pieces for part in parser.feed(piece)]
    return _without_ids(joined(parts + parser.finish(is_cut=is_cut)))


def _without_ids(parts: list[Part]) -> list[Part]:
    return [CallStart(part.call, part.name) if isinstance(part, CallStart) else part for part in parts]


def alike(writer: str, text: str, *, seed: int = 0, is_cut: bool = False, thinks: bool = False) -> list[Part]:
    """The parts of `text`, which are the same in one piece, by character and cut at random."""
    whole = parsed(writer, [text], is_cut=is_cut, thinks=thinks)
    assert parsed(writer, list(text), is_cut=is_cut, thinks=thinks) == whole
    assert parsed(writer, pieces_of(text, seed), is_cut=is_cut, thinks=thinks) == whole
    return whole


def calls_of(parts: list[Part]) -> list[tuple[str, str]]:
    """Names and arguments; the calls are numbered without gaps, and nothing stands between a call's parts."""
    names: list[str] = []
    arguments: list[str] = []
    last: Part | None = None
    for part in joined(parts):
        if isinstance(part, CallArguments):
            assert isinstance(last, CallStart), "some APIs have closed the call by now"
        last = part
        if isinstance(part, CallStart):
            assert part.call == len(names)
            names.append(part.name)
            arguments.append("")
        elif isinstance(part, CallArguments):
            assert part.call == len(names) - 1
            arguments[part.call] += part.text
    return list(zip(names, arguments, strict=True))


def content_of(parts: list[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Content))


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("calls", [[("weather", ARGUMENTS)], [("now", {}), ("weather", ARGUMENTS), ("now", {})]])
def test_calls_arrive_as_they_were_written(writer: str, calls: list[Call]) -> None:
    parts = alike(writer, WRITERS[writer](calls))
    assert [(name, json.loads(text)) for name, text in calls_of(parts)] == calls
    assert content_of(parts) == ""


@pytest.mark.parametrize("writer", [name for name in WRITERS if name not in BARE])
def test_text_around_calls_is_content(writer: str) -> None:
    written = WRITERS[writer]([("weather", {"city": "Rome"})])
    parts = alike(writer, f"Before, 2 < 3.\n\n{written}\nAfter [it].")
    assert content_of(parts) == "Before, 2 < 3.After [it]."
    assert calls_of(parts) == [("weather", '{"city": "Rome"}')]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_long_string_comes_in_pieces(writer: str) -> None:
    text = WRITERS[writer]([("weather", {"city": "A long story. " * 400})])
    parser = parser_of(writer)
    sizes = [len(part.text) for one in text for part in parser.feed(one) if isinstance(part, CallArguments)]
    assert max(sizes) < 40
    assert sum(sizes) > 14 * 400


@pytest.mark.parametrize("writer", WRITERS)
def test_a_cut_call_is_never_completed(writer: str) -> None:
    text = WRITERS[writer]([("now", {}), ("weather", ARGUMENTS)])
    whole = calls_of(parsed(writer, [text]))
    for end in range(1, len(text), 3):
        for (name, given_), (full_name, full) in zip(
            calls_of(parsed(writer, [text[:end]], is_cut=True)), whole, strict=False
        ):
            assert name == full_name
            assert full.startswith(given_)
