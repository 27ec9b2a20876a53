"""A stream whose text is parsed: its deltas, its tokens, its ends, and when tokens may take the fast path."""

from __future__ import annotations

import pytest

from engine.parsing.tagged import TaggedParser
from engine.vllm.formats.parsed_stream import ParsedStream, Parsing
from protocol.output import (
    Delta,
    FinishReason,
    PromptReport,
    Report,
    TokenLogprob,
    ToolCallArguments,
    ToolCallStart,
)
from tests.engine.fakes import FakeStream

CALL = '<tool_call>{"name": "shell", "arguments": {"input": "ls\\n"}}</tool_call>'


def steps(
    *texts: str, reason: FinishReason = "stop", index: int = 0, stop_string: str | None = None
) -> list[list[Delta]]:
    deltas = [Delta(index, text, 1) for text in texts]
    deltas[-1].finish_reason = reason
    deltas[-1].stop_string = stop_string
    return [[delta] for delta in deltas]


def parsing(**more: object) -> Parsing:
    return Parsing(lambda: TaggedParser(thinks=True), **more)  # type: ignore[arg-type]  # handed on


async def read(script: list[list[Delta]], how: Parsing | None = None) -> list[Delta]:
    fake = FakeStream(script)
    fake.end()
    stream = ParsedStream(fake, how or parsing())
    deltas: list[Delta] = []
    while (step := await stream.next()) is not None:
        deltas += step
    return deltas


async def test_a_step_becomes_what_its_text_means_and_every_token_is_counted() -> None:
    deltas = await read(steps("<think>", "Hm", "</think>", "\n\n", "Yes", *CALL))
    kinds = [(delta.part if isinstance(delta.part, str) else type(delta.part).__name__, delta.text) for delta in deltas]
    assert kinds[:3] == [("reasoning", "Hm"), ("NoneType", "Yes"), ("ToolCallStart", "")]
    assert "".join(text for kind, text in kinds if kind == "ToolCallArguments") == '{"input": "ls\\n"}'
    assert sum(delta.tokens for delta in deltas) == 5 + len(CALL)
    assert deltas[0].tokens == 2, "the opening tag's token is counted as a thought"
    assert deltas[-1].finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("texts", "reason", "how", "stop_string", "expected"),
    [
        (["Hello"], "stop", parsing(), None, "stop"),
        ([CALL], "stop", parsing(), None, "tool_calls"),
        ([CALL], "length", parsing(), None, "length"),
        ([CALL], "stop", parsing(is_named=True), None, "stop"),
        ([CALL], "stop", parsing(), "END", "stop"),
    ],
)
async def test_the_end_says_whether_the_model_chose_to_call(
    texts: list[str], reason: FinishReason, how: Parsing, stop_string: str | None, expected: FinishReason
) -> None:
    deltas = await read(steps(*texts, reason=reason, stop_string=stop_string), how)
    assert [(delta.finish_reason, delta.stop_string) for delta in deltas if delta.finish_reason] == [
        (expected, stop_string)
    ]


async def test_each_choice_has_a_parser() -> None:
    script = [[Delta(0, CALL[:20], 1), Delta(1, "He", 1)], [Delta(0, CALL[20:], 1, "stop"), Delta(1, "llo", 1, "stop")]]
    deltas = await read(script)
    assert [delta.text for delta in deltas if delta.index == 1 and delta.text] == ["He", "llo"]
    assert {delta.index: delta.finish_reason for delta in deltas if delta.finish_reason} == {0: "tool_calls", 1: "stop"}


async def test_a_custom_tools_input_comes_complete_and_decoded() -> None:
    deltas = await read(steps(*CALL), parsing(custom_tools=frozenset({"shell"})))
    parts = [(delta.part, delta.text) for delta in deltas if delta.part is not None]
    (start, _), arguments = parts
    assert isinstance(start, ToolCallStart)
    assert arguments == (ToolCallArguments(0), "ls\n")


async def test_a_custom_tools_input_stands_in_front_of_the_text_behind_the_call() -> None:
    deltas = await read(steps(*CALL, " Done", "."), parsing(custom_tools=frozenset({"shell"})))
    texts = [(type(delta.part), delta.text) for delta in deltas if delta.text]
    assert texts[0] == (ToolCallArguments, "ls\n")
    assert "".join(text for kind, text in texts if kind is type(None)) == " Done."


async def test_log_probabilities_stay_with_the_content() -> None:
    logprobs = (TokenLogprob("Yes", -0.5, b"Yes"),)
    script = [[Delta(0, "<think>Hm</think>", 1, None, logprobs)], [Delta(0, "Yes", 1, "stop", logprobs)]]
    deltas = await read(script)
    assert [(delta.text, delta.logprobs) for delta in deltas if delta.logprobs] == [("Yes", logprobs)]


async def test_only_plain_content_takes_the_fast_path() -> None:
    sent: list[str] = []

    def fast_path(text: str, tokens: int) -> bool:
        sent.append(text)
        return True

    stream = FakeStream(steps("a", "b"))
    stream.end()
    parsed = ParsedStream(stream, parsing())
    gated = parsed._gated(fast_path)
    assert gated is not None
    assert gated(" plain", 1)
    assert not gated(" a <", 1), "it may begin a tag"
    for text in ("line\n", " ", "a\u00a0"):
        assert not gated(text, 1), "white space before a call is dropped"
    assert not gated("", 1)
    parsed._choices[0].parser.feed("<think>")
    assert parsed._gated(fast_path) is None, "thoughts"
    parsed._choices[0].parser.feed("Hm</think>\n\nYes")
    again = parsed._gated(fast_path)
    assert again is not None
    assert again(" again", 1)
    assert sent == [" plain", " again"]


async def test_ids_of_text_that_is_held_back_come_with_what_follows() -> None:
    script = steps("<think>", "Hm", "</think>", "Yes")
    for number, (delta,) in enumerate(script):
        delta.report = Report((number,))
    prompt = Delta(0, "", 0, report=Report(prompt=PromptReport([8])))
    deltas = await read([[prompt], *script])
    assert deltas[0] is prompt
    ids = [token_id for delta in deltas[1:] if delta.report for token_id in delta.report.token_ids]
    assert ids == [0, 1, 2, 3]
