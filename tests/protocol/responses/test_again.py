"""A response's events made again: those of its stream, byte for byte."""

from __future__ import annotations

import json
from typing import Any

import pytest

from protocol.output import Delta, FinishReason, Part, TokenLogprob, ToolCallArguments, TopLogprob
from protocol.responses.again import events_again
from tests.protocol.responses.requests import WEATHER
from tests.protocol.responses.streams import final_response
from tests.protocol.responses.test_events import (
    CUSTOM,
    GONE,
    SPACE,
    TEXT,
    THOUGHTS,
    USAGE,
    call,
    encoder,
    end,
    read,
    whole,
)

TOOLS: dict[str, Any] = {"tools": [WEATHER, CUSTOM, SPACE]}
CALLS = [*call(0, "weather", '{"city":', '"Rome"}'), *call(1, "patch", "a", "b"), *call(2, "air__weather", "{}")]
NO_ARGUMENTS = call(0, "weather")


def likely(text: str) -> tuple[TokenLogprob, ...]:
    return (TokenLogprob(text, -0.5, text.encode(), (TopLogprob(text, -0.5, text.encode()),)),)


WITH_LOGPROBS = [
    Delta(0, "It ", 1, logprobs=likely("It ")),
    Delta(0, "", 1, logprobs=likely("")),
    Delta(0, "rains.", 2, logprobs=likely("ra") + likely("ins.")),
]


def in_bytes(text: str, part: Part | None = None) -> list[Delta]:
    """The deltas of a text of one character each of whose bytes is a token."""
    tokens = [TokenLogprob("\ufffd", -0.5, bytes([byte]), ()) for byte in text.encode()]
    texts = [""] * (len(tokens) - 1) + [text]
    return [Delta(0, one, 1, logprobs=(token,), part=part) for one, token in zip(texts, tokens, strict=True)]


ALL_IN_BYTES = [
    *in_bytes("é", "reasoning"),
    *in_bytes("☂"),
    *in_bytes("☀"),
    *NO_ARGUMENTS,
    *in_bytes("☁", ToolCallArguments(0)),
    *end("tool_calls"),
]


@pytest.mark.parametrize(
    ("deltas", "body"),
    [
        ([*TEXT, *end()], {}),
        ([*THOUGHTS, *TEXT, *CALLS, *TEXT, *end("tool_calls")], TOOLS),
        ([*THOUGHTS, *NO_ARGUMENTS, *end("tool_calls")], TOOLS),
        ([*TEXT, *CALLS[:2], *end("length")], TOOLS),
        (TEXT, {}),
        (end(), {}),
        (end("length"), {}),
        ([*WITH_LOGPROBS, *end()], {"top_logprobs": 1}),
        (ALL_IN_BYTES, TOOLS | {"top_logprobs": 0}),
    ],
    ids=["text", "all", "no arguments", "cut", "cancelled", "nothing", "nothing and cut", "logprobs", "bytes"],
)
@pytest.mark.parametrize("fails", [False, True])
def test_the_events_are_those_of_the_stream(deltas: list[Delta], body: dict[str, Any], fails: bool) -> None:
    events = encoder(stream=True, **body)
    sent = events.opening(1, USAGE) + [event for delta in deltas for event in events.encode(delta)]
    sent += events.error(GONE) if fails else events.closing(USAGE)
    response = json.loads(events.response())
    again = list(events_again(response, events.text_lengths))
    assert again == sent
    assert read(again) == read(sent)


def test_a_response_that_was_not_streamed_has_each_text_in_one_delta() -> None:
    response = whole([*THOUGHTS, *TEXT, *CALLS, *end("tool_calls")], **TOOLS)
    events = read(list(events_again(response)))
    assert final_response(events) == response
    deltas = [event["delta"] for event in events if event["type"].endswith(".delta")]
    assert deltas == ["Hm.", "It rains.", '{"city":"Rome"}', "ab", "{}"]


def test_an_empty_response_has_events_too() -> None:
    reasons: tuple[FinishReason, ...] = ("stop", "length")
    for reason in reasons:
        response = whole(end(reason))
        assert final_response(read(list(events_again(response)))) == response
