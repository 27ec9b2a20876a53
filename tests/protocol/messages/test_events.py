"""Anthropic's events and messages, made from deltas."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from protocol.encoder import Event, NamedEvent
from protocol.errors import Fault, TwowireError
from protocol.messages.errors import error_body, error_type
from protocol.messages.events import MessageEvents
from protocol.messages.response import MessageCollector, MessageHead
from protocol.output import Delta, Part, ToolCallArguments, ToolCallStart, Usage

HEAD = MessageHead("msg_1", "guide", 10, "summarized")
USAGE = Usage(9, 4, 5, 2)


def call(index: int, name: str = "a") -> ToolCallStart:
    return ToolCallStart(index, f"c{index}", name)


def deltas(*parts: tuple[Part | None, str], reason: Any = "stop", stop_string: str | None = None) -> list[Delta]:
    made = [Delta(0, text, 1, part=part) for part, text in parts]
    return [*made, Delta(0, "", 1, reason, stop_string=stop_string)]


def encoded(given: list[Delta], head: MessageHead = HEAD) -> list[dict[str, Any]]:
    encoder = MessageEvents(head)
    events: list[Event] = encoder.opening(1, USAGE)
    for delta in given:
        events += encoder.encode(delta)
    events += encoder.closing(USAGE)
    decoded = [json.loads(event) for event in events]
    assert [event.name.decode() for event in events if isinstance(event, NamedEvent)] == [
        event["type"] for event in decoded
    ]
    return decoded


def collected(given: list[Delta], head: MessageHead = HEAD) -> dict[str, Any]:
    collector = MessageCollector(head)
    collector.add(given)
    message: dict[str, Any] = orjson.loads(collector.body(USAGE))
    return message


def folded(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The message that a client builds from the events."""
    message = dict(events[0]["message"])
    for event in events[1:]:
        if event["type"] == "content_block_start":
            message["content"].append(event["content_block"] | {"json": ""})
        elif event["type"] == "content_block_delta":
            block, delta = message["content"][event["index"]], event["delta"]
            field = {"input_json_delta": "json", "thinking_delta": "thinking", "signature_delta": "signature"}.get(
                delta["type"], "text"
            )
            block[field] += delta["partial_json" if field == "json" else field]
        elif event["type"] == "message_delta":
            message |= event["delta"]
            message["usage"] |= event["usage"]
    for block in message["content"]:
        if (written := block.pop("json")) or block["type"] == "tool_use":
            block["input"] = orjson.loads(written or "{}")
    return message


ANSWERS = [
    deltas((None, "Hello"), (None, " there")),
    deltas(("reasoning", "Hm"), ("reasoning", "."), (None, "Yes"), (call(0), ""), (ToolCallArguments(0), '{"a":'))[:-1]
    + deltas((ToolCallArguments(0), " 1}"), (None, "So."), (call(1, "b"), "{}"), reason="tool_calls"),
    deltas((call(0), ""), (call(1), '{"b": 2}'), (ToolCallArguments(0), "{}")),
    deltas((call(0), "")),
    deltas(),
    deltas(("reasoning", "Hm"), reason="length"),
    deltas((None, "one"), stop_string=" two"),
]


@pytest.mark.parametrize("given", ANSWERS)
def test_the_events_add_up_to_the_message(given: list[Delta]) -> None:
    assert folded(encoded(given)) == collected(given)


def test_the_usage_is_cumulative_and_leaves_out_what_was_cached() -> None:
    events = encoded(deltas((None, "x")))
    started, ended = events[0]["message"]["usage"], events[-2]["usage"]
    assert (started["input_tokens"], started["cache_read_input_tokens"], started["output_tokens"]) == (4, 5, 0)
    assert (ended["input_tokens"], ended["cache_read_input_tokens"], ended["output_tokens"]) == (4, 5, 4)
    assert ended["output_tokens_details"] == {"thinking_tokens": 2}


def test_the_message_begins_when_it_is_known_what_was_cached() -> None:
    encoder, usage = MessageEvents(HEAD), Usage(9)
    assert encoder.opening(1, usage) == []
    usage.cached_tokens = 8
    start, *_ = encoder.encode(Delta(0, "x", 1))
    assert json.loads(start)["message"]["usage"]["cache_read_input_tokens"] == 8


@pytest.mark.parametrize(
    ("reason", "stop_string", "tokens", "parts", "expected"),
    [
        ("stop", None, 4, (), "end_turn"),
        ("length", None, 10, (), "max_tokens"),
        ("length", None, 4, (), "model_context_window_exceeded"),
        ("length", None, 10, ((call(0), "{"),), "max_tokens"),
        ("stop", "END", 4, ((call(0), "{"),), "stop_sequence"),
        ("tool_calls", None, 4, ((call(0), "{}"),), "tool_use"),
        ("stop", None, 4, ((call(0), "{}"),), "tool_use"),
    ],
)
def test_why_it_ended(reason: Any, stop_string: str | None, tokens: int, parts: Any, expected: str) -> None:
    given, usage = deltas(*parts, reason=reason, stop_string=stop_string), Usage(9, tokens)
    collector, encoder = MessageCollector(HEAD), MessageEvents(HEAD)
    collector.add(given)
    whole = orjson.loads(collector.body(usage))
    encoder.opening(1, usage)
    for delta in given:
        encoder.encode(delta)
    ended = json.loads(encoder.closing(usage)[-2])["delta"]
    assert whole["stop_reason"] == ended["stop_reason"] == expected
    assert whole["stop_sequence"] == ended["stop_sequence"] == (stop_string if expected == "stop_sequence" else None)


def test_a_cancelled_stream_is_closed_without_a_reason() -> None:
    events = encoded([Delta(0, "x", 1), Delta(0, '{"a', 1, part=call(0))])
    assert [event["type"] for event in events[-3:]] == ["content_block_stop", "message_delta", "message_stop"]
    assert events[-2]["delta"]["stop_reason"] is None


def test_a_call_that_a_limit_cuts_has_what_came() -> None:
    given = deltas((call(0), '{"a": "b", "c": "d'), reason="length")
    assert collected(given)["content"][0]["input"] == {"a": "b"}
    partial = [event for event in encoded(given) if event["type"] == "content_block_delta"]
    assert partial[0]["delta"]["partial_json"] == '{"a": "b", "c": "d'


DEEP = '{"a":' * 300 + "1" + "}" * 300


def test_a_deep_call_that_is_cut_is_text() -> None:
    assert collected(deltas((call(0), DEEP[:-1]), reason="length"))["content"][0]["type"] == "text"


@pytest.mark.parametrize("arguments", ["[1]", "{1}", "Rome", '{"a": 1} {"b": 2}', "null", DEEP])
def test_arguments_that_are_no_object_are_text_or_an_error(arguments: str) -> None:
    given = deltas((call(0), arguments), reason="tool_calls")
    whole = collected(given)
    assert whole["content"] == [
        {"type": "text", "text": f'{{"name": "a", "arguments": {arguments}}}', "citations": None}
    ]
    assert whole["stop_reason"] == "end_turn"
    for following in (given[-1], Delta(0, "x", 1), Delta(0, "", 1, part=call(1))):
        encoder = MessageEvents(HEAD)
        encoder.opening(1, USAGE)
        encoder.encode(given[0])
        with pytest.raises(TwowireError, match="not a JSON object") as failed:
            encoder.encode(following)
        assert failed.value.fault is Fault.INVALID_TOOL_CALL


def test_mixed_arguments_are_an_error() -> None:
    with pytest.raises(TwowireError, match="mixed"):
        encoded(deltas((call(0), "{}"), (call(1), "{}"), (ToolCallArguments(0), " ")))


def template_after(*parts: tuple[Part | None, str]) -> tuple[bytes, bytes] | None:
    encoder = MessageEvents(HEAD)
    encoder.opening(1, USAGE)
    for delta in deltas(*parts)[:-1]:
        encoder.encode(delta)
    return encoder.text_template


def test_only_plain_text_has_a_template() -> None:
    assert template_after() is None
    assert template_after(("reasoning", "Hm")) is None
    assert template_after((None, "x"), (call(0), "")) is None
    template = template_after(("reasoning", "Hm"), (None, "x"))
    assert template is not None
    (ordinary,) = [
        event
        for event in encoded(deltas(("reasoning", "Hm"), (None, "y\n")))
        if event.get("delta", {}).get("text") == "y\n"
    ]
    assert isinstance(template[0], NamedEvent)
    assert template[0].name.decode() == ordinary["type"]
    assert json.loads(template[0] + orjson.dumps("y\n") + template[1]) == ordinary


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.INVALID_VALUE, "invalid_request_error"),
        (Fault.INVALID_API_KEY, "authentication_error"),
        (Fault.FORBIDDEN_ORIGIN, "permission_error"),
        (Fault.UNKNOWN_URL, "not_found_error"),
        (Fault.METHOD_NOT_ALLOWED, "invalid_request_error"),
        (Fault.BODY_TOO_LARGE, "request_too_large"),
        (Fault.TOO_MANY_TOKENS, "rate_limit_error"),
        (Fault.INTERNAL, "api_error"),
        (Fault.QUEUE_FULL, "overloaded_error"),
        (Fault.ENGINE_DIED, "api_error"),
        (Fault.DEADLINE_EXCEEDED, "timeout_error"),
    ],
)
def test_errors_have_anthropics_types(fault: Fault, kind: str) -> None:
    assert error_type(fault) == kind
    body = orjson.loads(error_body(TwowireError(fault, "No."), "req_1"))
    assert body == {"type": "error", "error": {"type": kind, "message": "No."}, "request_id": "req_1"}
    assert "request_id" not in orjson.loads(error_body(TwowireError(fault, "No.")))
