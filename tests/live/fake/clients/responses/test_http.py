"""Responses over HTTP: the same items whole and streamed, valid by OpenAI's document, and the chat route's text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.live.servers.dialogue import THE_REQUEST, Dialogue
from tests.live.servers.server import MODEL, Server
from tests.openai_document import assert_valid
from tests.protocol.responses.streams import final_response, text_of

PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
WEATHER = {"type": "function", "name": "weather", "parameters": PARAMETERS}
PATCH = {"type": "custom", "name": "patch", "description": "Patches."}
SPACE = {"type": "namespace", "name": "mcp__air", "description": "Air.", "tools": [WEATHER]}
ARGUMENTS = '{"city": "서울 😀", "days": 3}'
CALL = f'<tool_call>\n{{"name": "weather", "arguments": {ARGUMENTS}}}\n</tool_call>'
SPACED = CALL.replace('"weather"', '"mcp__air__weather"')
PATCHED = '<tool_call>\n{"name": "patch", "arguments": {"input": "*** Begin\\n서울"}}\n</tool_call>'
THOUGHTS = "<think>\nOf Seoul.\n</think>\n\n"
CUTS = ("tokens", "characters", "whole", 1, 2)


def asking(dialogue: Dialogue, **more: Any) -> dict[str, Any]:
    tools = [WEATHER, PATCH, SPACE]
    return {"model": MODEL, "input": f"How is the weather? {dialogue}", "tools": tools} | more


@pytest.fixture
def http(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{server.url}/v1", timeout=60) as http:
        yield http


def created(http: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    """A whole response, checked for conformance."""
    answer = http.post("responses", json=body)
    assert answer.status_code == 200, answer.text
    response: dict[str, Any] = answer.json()
    assert_valid("Response", response)
    return response


def events_of(http: httpx.Client, body: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    """A stream's events, each with its name before it; the first of each kind must conform."""
    response = http.post("responses", json=body | {"stream": True}, **options)
    assert response.status_code == 200, response.text
    blocks = response.text.removesuffix("\n\n").split("\n\n")
    assert blocks.pop() == "data: [DONE]"
    events, kinds = [], set()
    for block in blocks:
        name, data = (line for line in block.split("\n") if not line.startswith("id: "))
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        if event["type"] not in kinds:
            kinds.add(event["type"])
            assert_valid("ResponseStreamEvent", _without_null_usage(event))
        events.append(event)
    return events


def _without_null_usage(event: dict[str, Any]) -> dict[str, Any]:
    """`event`, where `usage` is not null: OpenAI sends null until there is one, which its document does not allow."""
    response = event.get("response")
    if response is None or response["usage"] is not None:
        return event
    return event | {"response": {name: value for name, value in response.items() if name != "usage"}}


def comparable(response: dict[str, Any]) -> dict[str, Any]:
    """A response without what differs from one to the next: ids and times."""
    items = [
        {name: value for name, value in item.items() if name not in ("id", "call_id")} for item in response["output"]
    ]
    return response | {"id": "", "created_at": 0, "completed_at": 0, "output": items}


ANSWERS: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "text": ("It rains.", [("message", "It rains.")]),
    "thoughts, text, call": (
        THOUGHTS + "I look it up.\n" + CALL,
        [("reasoning", "Of Seoul."), ("message", "I look it up."), ("function_call", ARGUMENTS)],
    ),
    "parallel calls": (
        CALL + "\n" + SPACED + "\n" + PATCHED,
        [("function_call", ARGUMENTS), ("function_call", ARGUMENTS), ("custom_tool_call", "*** Begin\n서울")],
    ),
    "text after a call": (CALL + "\nSo it is.", [("function_call", ARGUMENTS), ("message", "So it is.")]),
    "no arguments": (
        '<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>',
        [("function_call", "{}")],
    ),
    "what only looks like a call": ("Write <tool so.", [("message", "Write <tool so.")]),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_a_response_is_the_same_however_it_comes(case: str, http: httpx.Client) -> None:
    said, expected = ANSWERS[case]
    for cut in CUTS:
        body = asking(Dialogue(said, cut=cut), reasoning={"effort": "low" if "<think>" in said else "none"})
        whole, streamed = created(http, body), final_response(events_of(http, body))
        for response in (whole, streamed):
            assert response["status"] == "completed"
            assert [(item["type"], text_of(item)) for item in response["output"]] == expected
        assert comparable(whole) == comparable(streamed)


def test_items_name_tools_as_they_were_declared(http: httpx.Client) -> None:
    items = created(http, asking(Dialogue(CALL + "\n" + SPACED + "\n" + PATCHED)))["output"]
    assert [(item["name"], item.get("namespace")) for item in items] == [
        ("weather", None),
        ("weather", "mcp__air"),
        ("patch", None),
    ]


def test_an_answer_that_the_limit_cuts_is_incomplete(http: httpx.Client) -> None:
    for said in ("It rains all day long, every day.", CALL, THOUGHTS * 3):
        body = asking(Dialogue(said), max_output_tokens=4, reasoning={"effort": "low" if said[1:2] == "t" else "none"})
        events = events_of(http, body)
        assert events[-1]["type"] == "response.incomplete"
        response = final_response(events)
        assert comparable(created(http, body)) == comparable(response)
        assert response["incomplete_details"] == {"reason": "max_output_tokens"}
        assert [item["status"] for item in response["output"]][-1:] in ([], ["incomplete"])
        assert response["usage"]["output_tokens"] == 4


def test_a_fault_midway_closes_the_item_and_fails_the_response(http: httpx.Client) -> None:
    for said in ("It rains all day.", CALL):
        events = events_of(http, asking(Dialogue(said, fails_after=5)))
        assert events[-1]["type"] == "response.failed"
        response = final_response(events)
        assert response["error"]["code"] == "server_error"
        stored = http.get(f"responses/{response['id']}").json()
        assert stored == response


def test_what_is_stored_is_what_the_stream_ended_with(http: httpx.Client) -> None:
    response = final_response(events_of(http, asking(Dialogue(THOUGHTS + CALL), reasoning={"effort": "low"})))
    assert http.get(f"responses/{response['id']}").json() == response


def test_the_prompt_and_the_text_are_those_of_the_chat(http: httpx.Client) -> None:
    dialogue = Dialogue(CALL, THE_REQUEST)
    tool = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}
    question, system = f"How is the weather? {dialogue}", "Be brief."
    first = created(http, asking(dialogue, instructions=system, tools=[WEATHER]))
    (call,) = first["output"]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "Rain."}
    later = {"model": MODEL, "tools": [WEATHER], "instructions": system, "input": [output]}
    called = {"id": call["call_id"], "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}
    chat = http.post(
        "chat/completions",
        json={
            "model": MODEL,
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": question},
                {"role": "assistant", "content": None, "tool_calls": [called]},
                {"role": "tool", "tool_call_id": call["call_id"], "content": "Rain."},
            ],
            "tools": [tool],
        },
    ).json()["choices"][0]["message"]["content"]
    continued = created(http, later | {"previous_response_id": first["id"]})
    sent_again = created(http, later | {"input": [{"role": "user", "content": question}, call, output]})
    by_reference = [{"role": "user", "content": question}, {"type": "item_reference", "id": call["id"]}, output]
    referred = created(http, later | {"input": by_reference})
    for response in (continued, sent_again, referred):
        (item,) = response["output"]
        assert text_of(item) == chat


def test_instructions_are_not_inherited_and_all_items_are(http: httpx.Client) -> None:
    dialogue = Dialogue(THOUGHTS + "One moment. " + CALL, "It rains.", THE_REQUEST)
    first = created(http, asking(dialogue, instructions="Be brief.", reasoning={"effort": "low"}))
    output = {"type": "function_call_output", "call_id": first["output"][-1]["call_id"], "output": "Rain."}
    second = created(http, asking(dialogue, input=[output], previous_response_id=first["id"]))
    third = created(http, asking(dialogue, input="And then?", previous_response_id=second["id"]))
    asked = json.loads(text_of(third["output"][0]))["messages"]
    assert [message["role"] for message in asked] == ["user", "assistant", "tool", "assistant", "user"]
    assert asked[1]["reasoning"] == "Of Seoul."
    assert asked[1]["tool_calls"][0]["function"]["arguments"] == json.loads(ARGUMENTS)


def test_logprobs_stand_in_the_deltas_and_in_the_item(http: httpx.Client) -> None:
    # The counting engine has none, but the members are present.
    body = asking(Dialogue("It rains."), include=["message.output_text.logprobs"], top_logprobs=2)
    assert final_response(events_of(http, body))["top_logprobs"] == 2


def test_deltas_are_padded_if_the_client_asks_for_it(http: httpx.Client) -> None:
    events = events_of(http, asking(Dialogue("It rains."), stream_options={"include_obfuscation": True}))
    padded = [event for event in events if "obfuscation" in event]
    assert padded == [event for event in events if event["type"].endswith(".delta")] != []
    assert text_of(final_response(events)["output"][0]) == "It rains."


@pytest.mark.parametrize(
    ("more", "status", "code", "param"),
    [
        ({"model": "nosuch"}, 404, "model_not_found", "model"),
        ({"previous_response_id": "resp_nosuch"}, None, "previous_response_not_found", "previous_response_id"),
        ({"input": [{"type": "item_reference", "id": "msg_nosuch"}]}, 404, "item_not_found", "id"),
        (
            {"input": [{"type": "function_call_output", "call_id": "x", "output": ""}]},
            *(400, "invalid_value", "input[0].call_id"),
        ),
        ({"tools": [{"type": "web_search"}]}, 400, "unsupported_content", "tools[0].type"),
    ],
)
def test_a_refusal_has_a_status_streamed_or_not(
    more: dict[str, Any], status: int | None, code: str, param: str, http: httpx.Client
) -> None:
    for stream in (False, True):
        response = http.post("responses", json=asking(Dialogue("Hi."), stream=stream) | more)
        error = response.json()["error"]
        assert (error["code"], error["param"]) == (code, param)
        assert status in (None, response.status_code)
        assert_valid("ErrorResponse", response.json())


def test_a_resumable_stream_goes_on_after_the_last_event_seen(http: httpx.Client) -> None:
    body = asking(Dialogue("It rains all day."))
    events = events_of(http, body, headers={"Twowire-Resume-Grace": "60"})
    response = final_response(events)
    rest = http.get(f"responses/{response['id']}?stream=true&starting_after=4")
    read = [json.loads(line.removeprefix("data: ")) for line in rest.text.split("\n") if line.startswith("data: {")]
    assert read == events[5:]
