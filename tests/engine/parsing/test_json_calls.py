"""Answers that a grammar has made a list of calls."""

from __future__ import annotations

from engine.parsing.calls.json_calls import JsonCallsParser
from engine.parsing.parts import MAX_CALLS, CallArguments, CallStart, Content
from tests.engine.parsing.test_tagged import parsed

LIST = '[{"name": "weather", "parameters": {"city": "Rome"}}, {"name": "now"}]'


def test_a_list_of_calls_is_the_same_however_it_is_cut() -> None:
    whole = [CallStart(0, "weather"), CallArguments(0, '{"city": "Rome"}'), CallStart(1, "now"), CallArguments(1, "{}")]
    assert parsed(JsonCallsParser(), [LIST]) == parsed(JsonCallsParser(), LIST) == whole


def test_what_is_no_list_is_content() -> None:
    assert parsed(JsonCallsParser(), ["no", " list"]) == [Content("no list")]


def test_what_is_no_part_of_a_call_comes_behind_it() -> None:
    text = '[{"name": "weather", "of": "Rome", "parameters": {}}]'
    whole = [CallStart(0, "weather"), CallArguments(0, "{}"), Content('"of": "Rome"')]
    assert parsed(JsonCallsParser(), [text]) == parsed(JsonCallsParser(), text) == whole


def test_a_call_that_is_cut_before_its_name_is_known_is_content() -> None:
    assert parsed(JsonCallsParser(), '[{"na') == parsed(JsonCallsParser(), ['[{"na']) == [Content('{"na')]


def test_a_list_that_breaks_off_keeps_its_calls_and_its_text() -> None:
    text = '[{"name": "now"}, {"name": 7, "parameters": {}}]'
    whole = [CallStart(0, "now"), CallArguments(0, "{}"), Content('{"name": 7, "parameters": {}}]')]
    assert parsed(JsonCallsParser(), [text]) == parsed(JsonCallsParser(), text) == whole


def test_the_calls_of_a_list_are_bounded() -> None:
    parts = parsed(JsonCallsParser(), ["[" + '{"name": "now"}, ' * (MAX_CALLS + 5)])
    assert len([part for part in parts if isinstance(part, CallStart)]) == MAX_CALLS
