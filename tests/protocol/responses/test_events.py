"""The events of a response, and the whole response: one fold, whatever the deltas are."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from protocol.encoder import NamedEvent
from protocol.errors import Fault, TwowireError
from protocol.output import Delta, FinishReason, TokenLogprob, ToolCallArguments, ToolCallStart, Usage
from protocol.responses.answer import ResponseCollector
from protocol.responses.events import ResponseEvents
from tests.protocol.responses.requests import WEATHER, request
from tests.protocol.responses.streams import final_response, text_of

USAGE = Usage(prompt_tokens=7, completion_tokens=5, cached_tokens=4, reasoning_tokens=2)
CUSTOM = {"type": "custom", "name": "patch"}
SPACE = {"type": "namespace", "name": "air", "tools": [WEATHER]}
THOUGHTS = [Delta(0, "H", 1, part="reasoning"), Delta(0, "m.", 1, part="reasoning")]
TEXT = [Delta(0, "It ", 1), Delta(0, "rains.", 1)]
GONE = TwowireError(Fault.ENGINE_DIED, "The engine died.")


def call(index: int, name: str, *texts: str) -> list[Delta]:
    start = Delta(0, "", 1, part=ToolCallStart(index, f"call_{index}", name))
    return [start, *(Delta(0, text, 1, part=ToolCallArguments(index)) for text in texts)]


def end(reason: FinishReason = "stop") -> list[Delta]:
    return [Delta(0, "", 0, reason)]


def encoder(**body: Any) -> ResponseEvents:
    return ResponseEvents(request(**body), "resp_abc", 1_700_000_000)


def read(events: list[bytes]) -> list[dict[str, Any]]:
    read = [json.loads(event) for event in events]
    assert all(isinstance(event, NamedEvent) for event in events)
    assert [event.name.decode() for event in events if isinstance(event, NamedEvent)] == [one["type"] for one in read]
    return read


def streamed(deltas: list[Delta], **body: Any) -> dict[str, Any]:
    """The response that the stream ends with."""
    events = encoder(stream=True, **body)
    encoded = events.opening(1, USAGE) + [event for delta in deltas for event in events.encode(delta)]
    response = final_response(read(encoded + events.closing(USAGE)))
    assert orjson.loads(events.response()) == response
    return response


def whole(deltas: list[Delta], **body: Any) -> dict[str, Any]:
    collector = ResponseCollector(request(**body), "resp_abc", 1_700_000_000)
    collector.add(deltas)
    response: dict[str, Any] = orjson.loads(collector.body(USAGE))
    return response


ANSWERS: dict[str, list[Delta]] = {
    "text": [*TEXT, *end()],
    "thoughts and text": [*THOUGHTS, *TEXT, *end()],
    "everything": [
        *THOUGHTS,
        *TEXT,
        *call(0, "weather", '{"city"', ':"Oslo"}'),
        *call(1, "air__weather", "{}"),
        *call(2, "patch", "*** Begin"),
        *TEXT,
        *end("tool_calls"),
    ],
    "a call alone": [*call(0, "weather", "{}"), *end("tool_calls")],
    "a call without arguments": [*call(0, "weather"), *end("length")],
    "held back": [Delta(0, "", 3), *TEXT, Delta(0, "", 1), *end()],
    "the end with a text": [*TEXT, Delta(0, "!", 1, "stop")],
    "nothing": end(),
    "cut in a text": [*TEXT, *end("length")],
    "cut in thoughts": [*THOUGHTS, *end("length")],
    "cut at once": end("length"),
    "cancelled": TEXT,
    "cancelled at once": [],
    "an unknown tool": [*call(0, "nosuch", "{}"), *end("tool_calls")],
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_whole_response_is_what_the_stream_amounts_to(case: str) -> None:
    tools = [WEATHER, SPACE, CUSTOM]
    assert whole(ANSWERS[case], tools=tools) == streamed(ANSWERS[case], tools=tools)


def test_each_part_is_an_item_in_the_models_order() -> None:
    response = streamed(ANSWERS["everything"], tools=[WEATHER, SPACE, CUSTOM])
    items = response["output"]
    assert [item["type"] for item in items] == [
        *("reasoning", "message", "function_call", "function_call", "custom_tool_call", "message")
    ]
    assert [text_of(item) for item in items] == ["Hm.", "It rains.", '{"city":"Oslo"}', "{}", "*** Begin", "It rains."]
    assert [item["status"] for item in items] == ["completed"] * 6
    assert len({item["id"] for item in items}) == 6
    assert [item["id"].split("_")[0] for item in items] == ["rs", "msg", "fc", "fc", "ctc", "msg"]
    assert (items[2]["name"], items[2]["call_id"]) == ("weather", "call_0")
    assert "namespace" not in items[2]
    assert (items[3]["name"], items[3]["namespace"]) == ("weather", "air")
    assert response["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 12,
    }


def test_a_completed_response_has_an_item_at_least() -> None:
    (item,) = streamed(end())["output"]
    assert (item["type"], text_of(item)) == ("message", "")


@pytest.mark.parametrize(
    ("case", "status", "items"),
    [
        ("cut in a text", "incomplete", ["incomplete"]),
        ("cut in thoughts", "incomplete", ["incomplete"]),
        ("a call without arguments", "incomplete", ["incomplete"]),
        ("cut at once", "incomplete", []),
        ("cancelled", "cancelled", ["incomplete"]),
        ("cancelled at once", "cancelled", []),
    ],
)
def test_what_is_cut_is_incomplete(case: str, status: str, items: list[str]) -> None:
    response = streamed(ANSWERS[case], tools=[WEATHER])
    assert response["status"] == status
    assert [item["status"] for item in response["output"]] == items
    assert response["completed_at"] is None
    assert response["incomplete_details"] == ({"reason": "max_output_tokens"} if status == "incomplete" else None)


@pytest.mark.parametrize("made", [[], TEXT, THOUGHTS, call(0, "weather", '{"ci')])
def test_a_fault_closes_what_is_open(made: list[Delta]) -> None:
    events = encoder(stream=True, tools=[WEATHER])
    encoded = events.opening(1, USAGE) + [event for delta in made for event in events.encode(delta)]
    response = final_response(read(encoded + events.error(GONE)))
    assert response["error"] == {"code": "server_error", "message": "The engine died."}
    assert [item["status"] for item in response["output"]] == (["incomplete"] if made else [])
    assert orjson.loads(events.response()) == response


def test_a_fault_before_the_first_event_has_a_response_too() -> None:
    assert final_response(read(encoder().error(TwowireError(Fault.TOO_MANY_TOKENS, "Wait."))))["error"] == {
        "code": "rate_limit_exceeded",
        "message": "Wait.",
    }


def test_a_response_that_cannot_be_kept_fails_in_place_of_its_last_event() -> None:
    events = encoder(stream=True)
    encoded = events.opening(1, USAGE) + [event for delta in TEXT for event in events.encode(delta)]
    encoded += events.closing(USAGE)[:-1]
    response = final_response(read(encoded + events.error(TwowireError(Fault.STORE_FAILED, "Full."))))
    assert (response["status"], response["error"]["message"]) == ("failed", "Full.")


def test_texts_on_the_fast_path_are_events_like_others() -> None:
    slow, fast = encoder(stream=True), encoder(stream=True)
    texts = ["It ", 'ra"ins\n', "서울."]
    expected = slow.opening(1, USAGE) + [event for text in texts for event in slow.encode(Delta(0, text, 1))]
    sent = fast.opening(1, USAGE) + fast.encode(Delta(0, texts[0], 1))
    for text in texts[1:]:
        assert fast.text_template is not None
        head, tail = fast.text_template
        assert isinstance(head, NamedEvent)
        sent.append(NamedEvent(head.name, head + fast.fill(text) + tail))
        fast.sent(text)
    ends = [[*one.encode(Delta(0, "", 0, "stop")), *one.closing(USAGE)] for one in (slow, fast)]
    assert sent == expected
    assert ends[0] == ends[1]
    assert text_of(final_response(read(sent + ends[1]))["output"][0]) == "".join(texts)


def test_only_plain_texts_take_the_fast_path() -> None:
    for body in ({"top_logprobs": 1}, {"stream": True, "stream_options": {"include_obfuscation": True}}):
        events = encoder(**body)
        events.encode(TEXT[0])
        assert events.text_template is None
    events = encoder(tools=[WEATHER])
    for deltas, is_plain in ((THOUGHTS, False), (TEXT, True), (call(0, "weather", "{}"), False)):
        for delta in deltas:
            events.encode(delta)
        assert (events.text_template is not None) == is_plain


def test_obfuscated_deltas_have_the_same_length() -> None:
    events = encoder(stream=True, stream_options={"include_obfuscation": True})
    deltas = [events.encode(Delta(0, text, 1))[-1] for text in ("a", "a long text", "")[:2]]
    assert len({len(delta) for delta in deltas}) == 1
    assert all(json.loads(delta)["obfuscation"] for delta in deltas)


def test_logprobs_are_in_the_deltas_and_in_the_item() -> None:
    tokens = [(TokenLogprob("It ", -0.5, b"It "),), (TokenLogprob("rains.", -0.25, b"rains."),)]
    deltas = [Delta(0, text.text, 1, logprobs=logprobs) for text, logprobs in zip(TEXT, tokens, strict=True)]
    response = streamed([*deltas, *end()], top_logprobs=0, include=["message.output_text.logprobs"])
    (part,) = response["output"][0]["content"]
    assert [token["token"] for token in part["logprobs"]] == ["It ", "rains."]
    assert part["logprobs"][0]["logprob"] == -0.5


def test_the_response_shows_what_was_asked_for() -> None:
    body = {
        "instructions": "Be brief.",
        "metadata": {"a": "b"},
        "previous_response_id": "resp_0",
        "reasoning": {"effort": "low", "summary": "auto"},
        "temperature": 0.5,
        "max_output_tokens": 99,
        "store": False,
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "name": "weather"},
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "user": "u",
    }
    response = whole(ANSWERS["text"], **body)
    shown = {"reasoning": {"effort": "low", "summary": None}, "tools": [WEATHER | {"strict": None}]}
    assert {name: response[name] for name in body} == body | shown


def test_arguments_of_a_call_that_is_closed_fail_the_response() -> None:
    late = Delta(0, "x", 1, part=ToolCallArguments(0))
    events = encoder(tools=[WEATHER])
    events.opening(1, USAGE)
    for delta in (*call(0, "weather", "{}"), *TEXT):
        events.encode(delta)
    with pytest.raises(TwowireError, match="mixed") as failed:
        events.encode(late)
    assert failed.value.fault is Fault.INVALID_TOOL_CALL
