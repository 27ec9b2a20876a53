"""What went wrong in other servers with thoughts, tested end to end in every format."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.app.generation.symptoms.front import FORMATS, ROME, TAGGED, Front, Message, called, said, written

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
    forced = written(name) if name == "hermes" else json.dumps([{"name": "weather", "parameters": ROME}])
    message = await said(front, name, thought + forced, tool_choice="required", **THINKS)
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
