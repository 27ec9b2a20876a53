"""What went wrong elsewhere with thoughts, at the front door, in every format. As in `test_calls`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.app.generation.symptoms.front import (
    FORMATS,
    PATH,
    TAGGED,
    TOOLS,
    Front,
    Message,
    called,
    forced,
    gathered,
    said,
    written,
)
from tests.live.servers.dialogue import THE_REQUEST, Dialogue

pytestmark = pytest.mark.asyncio(loop_scope="module")
THINKS: dict[str, Any] = {"reasoning_effort": "low"}


@pytest.mark.parametrize("name", FORMATS)
async def test_thoughts_or_their_tags_are_in_the_content(front: Front, name: str) -> None:
    text = "<think>\nFirst.\n</think>\n\nThe answer.<think>Again.</think> Done."
    assert await said(front, name, text, **THINKS) == Message("The answer. Done.", reasoning="First.Again.")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("stop", ["END", "</answer>", "x<t"])
async def test_a_stop_string_leaves_parts_of_tags(front: Front, name: str, stop: str) -> None:
    text = f"<think>Hm.</think>The answer.{stop} Never."
    assert await said(front, name, text, stop=[stop], **THINKS) == Message("The answer.", reasoning="Hm.")


@pytest.mark.parametrize("name", FORMATS)
async def test_the_whole_answer_is_taken_for_thoughts(front: Front, name: str) -> None:
    assert await said(front, name, "Hello.", reasoning_effort="none") == Message("Hello.")
    assert await said(front, name, "Hello.") == Message("Hello.")
    assert await said(front, name, "Hello.", **THINKS) == Message("Hello.")


@pytest.mark.parametrize("name", TAGGED)
async def test_a_call_within_thoughts_is_lost(front: Front, name: str) -> None:
    text = f"<think>I need the weather. {written(name)}"
    assert await said(front, name, text, **THINKS) == called(reasoning="I need the weather.")


@pytest.mark.parametrize("name", FORMATS)
async def test_a_call_behind_thoughts_is_lost(front: Front, name: str) -> None:
    thought = "<think>\nThe weather.\n</think>\n\n"
    assert await said(front, name, thought + written(name), **THINKS) == called(reasoning="The weather.")
    message = await said(front, name, thought + forced(name), tool_choice="required", **THINKS)
    assert message == called(reasoning="The weather.")


@pytest.mark.parametrize("name", FORMATS)
async def test_a_schema_and_thoughts_do_not_go_together(front: Front, name: str) -> None:
    wanted = {"type": "json_object"}
    text = '<think>Yes.</think>\n{"answer": "yes"}'
    message = await said(front, name, text, tools=[], response_format=wanted, **THINKS)
    assert message == Message('{"answer": "yes"}', reasoning="Yes.")


@pytest.mark.parametrize("name", FORMATS)
async def test_the_last_thoughts_are_lost(front: Front, name: str) -> None:
    message = await said(front, name, "<think>I think and think", max_tokens=4, **THINKS)
    assert message.finish_reason == "length"
    assert "I think".startswith(message.reasoning) or message.reasoning.startswith("I think")


async def asked_of_the_engine(front: Front, messages: list[dict[str, Any]], **body: Any) -> dict[str, Any]:
    """What reaches the engine of a request that ends with `messages`, on all ways the same."""
    dialogue = Dialogue(THE_REQUEST, THE_REQUEST, cut="whole")
    first = {"role": "user", "content": str(dialogue)}
    sent = {"model": "guide", "messages": [first, *messages]} | body
    whole = (await front.whole(sent))["choices"][0]["message"]["content"]
    assert gathered(await front.streamed(sent)).content == gathered(await front.on_channel(sent)).content
    asked: dict[str, Any] = json.loads(whole)
    return asked


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
async def test_thoughts_that_are_handed_back_are_lost(front: Front, field: str) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    said = {"role": "assistant", "content": None, field: "I need the time.", "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "c", "content": "12:30"}
    asked = await asked_of_the_engine(front, [said, result], tools=TOOLS)
    handed = asked["messages"][1]
    assert handed["reasoning"] == handed["reasoning_content"] == "I need the time."


@pytest.mark.parametrize(("budget", "limit"), [(64, 64), (0, 0), (-1, None), (None, None)])
async def test_a_budget_of_thoughts_is_ignored(front: Front, budget: int | None, limit: int | None) -> None:
    asked = await asked_of_the_engine(front, [], thinking_token_budget=budget)
    assert asked["max_thoughts"] == limit


async def test_a_budget_of_thoughts_is_ignored_where_it_cannot_hold(front: Front) -> None:
    dialogue = Dialogue("Hello.", thoughts="mistral")
    body = {"model": "guide", "messages": [{"role": "user", "content": str(dialogue)}], "thinking_token_budget": 9}
    answer = await front.app.test_client().post(PATH, json=body)
    error = (await answer.get_json())["error"]
    assert (answer.status_code, error["param"]) == (400, "thinking_token_budget")
