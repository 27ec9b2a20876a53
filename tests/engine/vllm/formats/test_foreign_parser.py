"""Answers that one of vLLM's parsers reads: the parts of a call stay together, whatever the parser's order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from engine.parsing.parts import CallArguments, CallStart, Content, Part, Reasoning
from engine.vllm.formats.parser import VllmTextParser


def call(index: int, name: str | None = None, arguments: str | None = None) -> Any:
    return SimpleNamespace(index=index, id=None, function=SimpleNamespace(name=name, arguments=arguments))


def message(*calls: Any, content: str | None = None, reasoning: str | None = None) -> Any:
    return SimpleNamespace(content=content, reasoning=reasoning, tool_calls=list(calls))


class ParserOf:
    """Gives these messages, one for each text."""

    def __init__(self, *messages: Any) -> None:
        self._messages = list(messages)

    def parse_delta(self, text: str, ids: Any, request: Any, prompt: Any, *, finished: bool) -> Any:
        one = self._messages.pop(0) if self._messages else None
        if isinstance(one, Exception):
            raise one
        return one


def parts_of(*messages: Any, is_cut: bool = False) -> list[Part]:
    parser = VllmTextParser(ParserOf(*messages), [], [], parallel=True)
    parts = [part for _ in messages for part in parser.feed("some text")]
    return parts + parser.finish(is_cut=is_cut)


def test_a_call_without_arguments_is_completed_before_the_next_one() -> None:
    assert parts_of(message(call(0, "now")), message(call(1, "weather", "{}"))) == [
        *(CallStart(0, "now"), CallArguments(0, "{}")),
        *(CallStart(1, "weather"), CallArguments(1, "{}")),
    ]


def test_text_behind_a_call_waits_for_the_end_of_its_arguments() -> None:
    begun, rest = message(call(0, "weather", '{"a"')), message(call(0, None, ": 1}"), content=" Done")
    whole = [CallStart(0, "weather"), CallArguments(0, '{"a"'), CallArguments(0, ": 1}"), Content(" Done")]
    assert parts_of(begun, rest) == whole
    then = message(call(1, "now", "{}"))
    assert parts_of(begun, rest, then) == [*whole, CallStart(1, "now"), CallArguments(1, "{}")]


def test_thoughts_behind_a_call_wait_as_well() -> None:
    parts = parts_of(message(call(0, "now")), message(reasoning="Hm."))
    assert parts == [CallStart(0, "now"), CallArguments(0, "{}"), Reasoning("Hm.")]


def test_calls_in_one_message_come_in_their_order() -> None:
    parts = parts_of(message(call(1, "b", "{}"), call(0, "a", "{}")))
    assert [part.name for part in parts if isinstance(part, CallStart)] == ["a", "b"]


def test_a_cut_call_gets_no_arguments() -> None:
    assert parts_of(message(call(0, "now")), is_cut=True) == [CallStart(0, "now")]


def test_a_parser_that_fails_in_a_call_invents_no_arguments() -> None:
    parts = parts_of(message(call(0, "now")), ValueError("broken"))
    assert parts == [CallStart(0, "now"), Content("some text")]
