"""Items of the input: what is taken, what the model reads, and what is stored."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.chat.request import ChatCompletionRequest
from protocol.errors import Fault
from protocol.generation import ChatPrompt
from protocol.responses.input.items import ITEMS
from protocol.responses.input.rendering import rendered
from protocol.responses.objects import item_object
from protocol.validation.parse import request_from_object
from tests.protocol.responses.requests import messages, refused, request

THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
CALL = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Oslo"}'}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "Rain."}
ANSWER = {
    "type": "message",
    "id": "msg_1",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Wait.", "annotations": [], "logprobs": []}],
}
QUESTION = {"role": "user", "content": [{"type": "input_text", "text": "Weather"}, {"type": "input_text", "text": "?"}]}
DIALOGUE = [QUESTION, THOUGHT, ANSWER, CALL, OUTPUT]


def test_a_dialogue_is_the_prompt_of_the_same_chat() -> None:
    chat = request_from_object(
        ChatCompletionRequest,
        {
            "model": "guide",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Weather?"},
                {
                    "role": "assistant",
                    "content": "Wait.",
                    "reasoning": "Hm.",
                    "tool_calls": [
                        {
                            "id": "call_1",
                            "type": "function",
                            "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
            ],
        },
    )
    prompt = chat.generation_request().prompt
    assert isinstance(prompt, ChatPrompt)
    assert messages(instructions="Be brief.", input=DIALOGUE) == prompt.messages


def test_parallel_calls_are_one_message_and_a_text_after_them_belongs_to_it() -> None:
    second = CALL | {"call_id": "call_2"}
    later = [{"role": "assistant", "content": "Both."}, OUTPUT, OUTPUT | {"call_id": "call_2"}]
    turn, first, last = messages(input=[CALL, second, *later])
    assert turn["content"] == "Both."
    assert [call["id"] for call in turn["tool_calls"]] == ["call_1", "call_2"]
    assert (first["tool_call_id"], last["tool_call_id"]) == ("call_1", "call_2")


def test_two_texts_of_the_assistant_in_a_row_are_two_messages() -> None:
    said = [{"role": "assistant", "content": "One."}, {"role": "assistant", "content": "Two."}]
    assert [message["content"] for message in messages(input=said)] == ["One.", "Two."]


def test_custom_calls_and_namespaces_are_what_the_model_knows() -> None:
    custom = {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "*** Begin"}
    spaced = CALL | {"namespace": "mcp__air__"}
    output = {"type": "custom_tool_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "Done."}]}
    turn, answer = messages(input=[custom, spaced, output])
    patch, weather = (call["function"] for call in turn["tool_calls"])
    assert patch == {"name": "patch", "arguments": {"input": "*** Begin"}}
    assert weather["name"] == "mcp__air__weather"
    assert answer == {"role": "tool", "content": "Done.", "tool_call_id": "c"}


def test_earlier_items_come_after_the_instructions_and_before_the_input() -> None:
    later = request(instructions="Be brief.", input=[OUTPUT])
    later.go_on_from(request(input=[QUESTION, CALL]).input_items)
    prompt = later.generation_request().prompt
    assert isinstance(prompt, ChatPrompt)
    assert [message["role"] for message in prompt.messages] == ["system", "user", "assistant", "tool"]


def test_a_summary_stands_for_thoughts_that_are_not_there() -> None:
    summed = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Short."}], "encrypted_content": "x"}
    assert messages(input=[QUESTION, summed])[1]["reasoning"] == "Short."


@pytest.mark.parametrize("item", DIALOGUE, ids=lambda item: item.get("type", "message"))
def test_a_stored_item_means_what_the_item_meant(item: dict[str, Any]) -> None:
    before = [CALL] if item is OUTPUT else []
    given = request(input=[*before, item]).input_items
    stored = [item_object(one, lambda prefix: f"{prefix}_0") for one in given]
    assert all(one["id"] for one in stored)
    assert rendered(None, [], ITEMS.validate_python(stored)) == rendered(None, [], given)


@pytest.mark.parametrize(
    ("item", "fault", "param"),
    [
        (OUTPUT, Fault.INVALID_VALUE, "input[0].call_id"),
        ({"type": "item_reference", "id": "msg_7"}, Fault.INVALID_VALUE, "input[0].id"),
        ({"id": "msg_7"}, Fault.INVALID_VALUE, "input[0].id"),
        ({"type": "web_search_call", "id": "ws_1"}, Fault.UNSUPPORTED_CONTENT, "input[0].type"),
        ({"role": "user", "content": [{"type": "input_file"}]}, Fault.UNSUPPORTED_CONTENT, "input[0].content[0].type"),
        ({"role": "tool", "content": "x"}, Fault.INVALID_VALUE, "input[0].role"),
        ({"type": "function_call", "call_id": "c", "arguments": ""}, Fault.MISSING_FIELD, "input[0].name"),
        (CALL | {"arguments": "[" * 80 + "]" * 80}, None, None),
        (CALL | {"arguments": '{"a":' * 80 + "1" + "}" * 80}, Fault.INVALID_VALUE, "input[0].arguments"),
        (5, Fault.INVALID_TYPE, "input[0]"),
        (CALL | {"type": ["function_call"]}, Fault.INVALID_TYPE, "input[0].type"),
        (CALL | {"type": {}}, Fault.INVALID_TYPE, "input[0].type"),
    ],
)
def test_what_is_wrong_with_an_item_is_named(item: Any, fault: Fault | None, param: str | None) -> None:
    if fault is None:  # Arguments that are not an object become an empty one.
        assert messages(input=[item])[0]["tool_calls"][0]["function"]["arguments"] == {}
        return
    error = refused(input=[item])
    assert (error.fault, error.param) == (fault, param)
