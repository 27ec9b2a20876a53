"""Which messages a chat may hold, and what a template is given for them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from protocol.chat.request import ChatCompletionRequest
from protocol.errors import Fault, TwowireError
from protocol.validation.parse import parse_request

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}


def parse(messages: object) -> ChatCompletionRequest:
    return parse_request(ChatCompletionRequest, orjson.dumps({"model": "m", "messages": messages}))


def template(message: dict[str, Any]) -> dict[str, Any]:
    return parse([message]).messages[0].template_message()


def refused(messages: object) -> TwowireError:
    with pytest.raises(TwowireError) as caught:
        parse(messages)
    return caught.value


def refused_content(content: object, role: str = "user") -> TwowireError:
    return refused([{"role": role, "content": content}])


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
def test_plain_text_reaches_the_template_as_it_is(role: str) -> None:
    assert template({"role": role, "content": "Grüß dich 👋\n"}) == {
        "role": role,
        "content": "Grüß dich 👋\n",
    }


def test_text_parts_are_joined_with_nothing_between() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": ""}, {"type": "text", "text": "b\n"}]
    assert template({"role": "user", "content": parts})["content"] == "ab\n"


def test_an_empty_text_is_a_text() -> None:
    assert template({"role": "user", "content": ""})["content"] == ""


@pytest.mark.parametrize("kind", ["text", "input_text", "output_text"])
def test_parts_of_openais_other_interface_are_text(kind: str) -> None:
    part = {"type": kind, "text": "a", "annotations": [], "cache_control": {"type": "ephemeral"}}
    assert template({"role": "user", "content": [part, {"type": "text", "text": "b"}]})["content"] == "ab"


NOTHING: list[dict[str, Any]] = [{}, {"content": None}, {"content": []}, {"content": ""}]


@pytest.mark.parametrize("content", NOTHING)
@pytest.mark.parametrize("more", [{}, {"tool_calls": None}, {"tool_calls": []}, {"refusal": None}])
def test_an_assistant_that_said_nothing_does_not_end_the_chat(content: dict[str, Any], more: dict[str, Any]) -> None:
    turn = {"role": "assistant", **content, **more}
    assert template(turn) == {"role": "assistant", "content": ""}
    assert parse([{"role": "user", "content": "a"}, turn, {"role": "user", "content": "b"}]).messages[1].text == ""


@pytest.mark.parametrize("content", NOTHING)
def test_a_tool_that_gave_nothing_does_not_end_the_chat(content: dict[str, Any]) -> None:
    assert template({"role": "tool", "tool_call_id": "c1", **content})["content"] == ""


@pytest.mark.parametrize("content", NOTHING[:3])
@pytest.mark.parametrize("role", ["system", "developer", "user"])
def test_only_the_last_message_must_have_content(role: str, content: dict[str, Any]) -> None:
    odd, question = {"role": role, **content}, {"role": "user", "content": "a"}
    assert [message.text for message in parse([odd, question]).messages] == ["", "a"]
    assert refused([question, odd]).param == "messages[1].content"


def test_only_the_last_answer_of_a_tool_needs_its_call() -> None:
    odd, question = {"role": "tool", "content": "7"}, {"role": "user", "content": "a"}
    assert parse([odd, question]).messages[0].template_message() == {"role": "tool", "content": "7"}
    assert refused([question, odd]).param == "messages[1].tool_call_id"


def test_an_empty_name_is_none() -> None:
    assert template({"role": "user", "content": "a", "name": ""}) == {"role": "user", "content": "a"}


def test_a_tool_result_carries_its_call() -> None:
    assert template({"role": "tool", "content": "7", "tool_call_id": "c1"}) == {
        "role": "tool",
        "content": "7",
        "tool_call_id": "c1",
    }


def test_tool_calls_reach_the_template_with_their_arguments_as_an_object() -> None:
    for content in ({}, {"content": None}):
        message = template({"role": "assistant", "tool_calls": [CALL], **content})
        assert message["content"] == ""
        assert message["tool_calls"] == [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
        ]


@pytest.mark.parametrize(
    ("call", "seen"),
    [
        ({"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}, {"id": "c1"}),
        ({"id": "c1", "function": {"name": "f", "arguments": '{"x": 1}'}}, {"id": "c1"}),
        ({"id": "", "type": None, "function": {"name": "f", "arguments": {"x": 1}}}, {"id": ""}),
        ({"function": {"name": "f", "arguments": {"x": 1}}}, {}),
    ],
    ids=["object", "no type", "empty id", "no id"],
)
def test_calls_that_other_servers_made_are_taken(call: dict[str, Any], seen: dict[str, Any]) -> None:
    message = template({"role": "assistant", "tool_calls": [call]})
    assert message["tool_calls"] == [{**seen, "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]


@pytest.mark.parametrize("arguments", [{}, {"arguments": None}, {"arguments": {}}])
def test_a_call_without_arguments_has_none(arguments: dict[str, Any]) -> None:
    call = {"id": "c1", "function": {"name": "f", **arguments}}
    message = template({"role": "assistant", "tool_calls": [call]})
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": {}}


def test_arguments_of_another_type_are_refused() -> None:
    error = refused([{"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": 5}}]}])
    assert (error.fault, error.param) == (Fault.INVALID_TYPE, "messages[0].tool_calls[0].function.arguments")
    assert error.message.endswith("must be a string or an object, got 5.")


@pytest.mark.parametrize("arguments", ["", "not json", "[1]", '{"x":', "1" * 5000, '{"x":NaN}', "[" * 100_000])
def test_arguments_that_are_not_an_object_do_not_end_the_chat(arguments: str) -> None:
    call = {**CALL, "function": {"name": "f", "arguments": arguments}}
    message = template({"role": "assistant", "tool_calls": [call]})
    assert message["tool_calls"][0]["function"]["arguments"] == {}


@pytest.mark.parametrize("parsed", [False, True], ids=["text", "object"])
def test_arguments_nested_deeply_are_refused(parsed: bool) -> None:
    text = '{"a":' * 100 + "1" + "}" * 100
    call = {**CALL, "function": {"name": "f", "arguments": orjson.loads(text) if parsed else text}}
    error = refused([{"role": "assistant", "tool_calls": [call]}])
    assert (error.fault, error.param) == (Fault.INVALID_VALUE, "messages[0].tool_calls[0].function.arguments")


def test_what_openai_itself_returns_can_be_sent_back() -> None:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "hello",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": None,
    }
    assert template(message) == {"role": "assistant", "content": "hello"}


def test_a_refusal_is_the_assistants_text() -> None:
    assert template({"role": "assistant", "content": None, "refusal": "no"})["content"] == "no"
    assert template({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]})["content"] == "no"
    error = refused_content([{"type": "refusal", "refusal": "no"}])
    assert (error.fault, error.param) == (Fault.INVALID_VALUE, "messages[0].content[0].type")


@pytest.mark.parametrize(
    "part",
    [
        {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}},
        {"type": "input_video", "input_video": {"data": "", "format": "mp4"}},
        {"type": "file", "file": {"file_id": "f"}},
        {"type": "hologram"},
        {"type": "t" * 100_000},
    ],
)
def test_a_part_that_is_not_text_is_refused_by_its_type(part: dict[str, Any]) -> None:
    error = refused_content([{"type": "text", "text": "a"}, part])
    assert (error.fault, error.param) == (Fault.UNSUPPORTED_CONTENT, "messages[0].content[1].type")
    assert part["type"][:50] in error.message
    assert "example.com" not in error.message
    assert len(error.message) < 250


@pytest.mark.parametrize(
    ("content", "fault", "param"),
    [
        (None, Fault.MISSING_FIELD, "messages[0].content"),
        (5, Fault.INVALID_TYPE, "messages[0].content"),
        ({"type": "text", "text": "a"}, Fault.INVALID_TYPE, "messages[0].content"),
        ([], Fault.INVALID_VALUE, "messages[0].content"),
        (["a"], Fault.INVALID_TYPE, "messages[0].content[0]"),
        ([None], Fault.INVALID_TYPE, "messages[0].content[0]"),
        ([{}], Fault.MISSING_FIELD, "messages[0].content[0].type"),
        ([{"type": 5}], Fault.INVALID_TYPE, "messages[0].content[0].type"),
        ([{"type": "text"}], Fault.MISSING_FIELD, "messages[0].content[0].text"),
        ([{"type": "text", "text": None}], Fault.INVALID_TYPE, "messages[0].content[0].text"),
        ([{"type": "text", "text": "a\x00"}], Fault.INVALID_VALUE, "messages[0].content[0].text"),
        ([{"type": "text", "text": "a"}] * 1025, Fault.INVALID_VALUE, "messages[0].content"),
        ("a\x00b", Fault.INVALID_VALUE, "messages[0].content"),
    ],
)
def test_wrong_content_is_named(content: object, fault: Fault, param: str) -> None:
    error = refused_content(content)
    assert (error.fault, error.param) == (fault, param)


@pytest.mark.parametrize(
    ("message", "fault", "param"),
    [
        ("hi", Fault.INVALID_TYPE, "messages[0]"),
        (None, Fault.INVALID_TYPE, "messages[0]"),
        ({}, Fault.MISSING_FIELD, "messages[0].role"),
        ({"role": "wizard", "content": "a"}, Fault.INVALID_VALUE, "messages[0].role"),
        ({"role": None, "content": "a"}, Fault.INVALID_TYPE, "messages[0].role"),
        ({"role": ["user"], "content": "a"}, Fault.INVALID_TYPE, "messages[0].role"),
        ({"role": "user"}, Fault.MISSING_FIELD, "messages[0].content"),
        ({"role": "tool", "content": "a"}, Fault.MISSING_FIELD, "messages[0].tool_call_id"),
        (
            {"role": "user", "content": "a", "tool_calls": [CALL]},
            Fault.INVALID_VALUE,
            "messages[0].tool_calls",
        ),
        ({"role": "assistant", "tool_calls": [CALL] * 129}, Fault.INVALID_VALUE, "messages[0].tool_calls"),
        ({"role": "assistant", "tool_calls": [{}]}, Fault.MISSING_FIELD, "messages[0].tool_calls[0].function"),
        (
            {"role": "assistant", "tool_calls": [{**CALL, "type": "custom"}]},
            Fault.MISSING_FIELD,
            "messages[0].tool_calls[0].custom",
        ),
        (
            {"role": "user", "content": "a", "function_call": {"name": "f"}},
            Fault.INVALID_VALUE,
            "messages[0].function_call",
        ),
        (
            {"role": "assistant", "function_call": {"arguments": "{}"}},
            Fault.MISSING_FIELD,
            "messages[0].function_call.name",
        ),
        ({"role": "assistant", "audio": {"id": "a"}}, Fault.UNSUPPORTED_CONTENT, "messages[0].audio"),
        ({"role": "user", "content": "a", "name": "n" * 257}, Fault.INVALID_VALUE, "messages[0].name"),
    ],
)
def test_a_wrong_message_is_named(message: object, fault: Fault, param: str) -> None:
    error = refused([message])
    assert (error.fault, error.param) == (fault, param)


@pytest.mark.parametrize("messages", [[], "hi", {}, 5])
def test_messages_are_a_list_with_something_in_it(messages: object) -> None:
    assert refused(messages).param == "messages"


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (80_000, "messages must have at most 10000 items, got 80000."),
        (1_000_000, "The body holds more than 250000 lists, objects and keys"),
    ],
)
def test_too_many_messages_are_refused_with_the_limit(count: int, words: str) -> None:
    message = b'{"role":"user","content":"a"}'
    raw = b'{"model":"m","messages":[' + b",".join([message] * count) + b"]}"
    with pytest.raises(TwowireError, match=words):
        parse_request(ChatCompletionRequest, raw)


def test_of_many_wrong_messages_only_the_first_is_looked_at() -> None:
    assert refused([{}] * 9_000).param == "messages[0].role"
