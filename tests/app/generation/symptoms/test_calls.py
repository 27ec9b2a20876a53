"""What went wrong in other servers with the ids, number and end of calls, tested end to end in every format."""

from __future__ import annotations

import json

import pytest

from tests.app.generation.symptoms.front import FORMATS, ROME, TAGGED, TOOLS, Front, Message, called, said, written
from tests.live.servers.dialogue import Dialogue

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("name", FORMATS)
async def test_the_finish_reason_does_not_fit(front: Front, name: str) -> None:
    assert (await said(front, name, "No call.")) == Message("No call.")
    assert (await said(front, name, written(name))).finish_reason == "tool_calls"
    forced = written(name) if name == "hermes" else json.dumps([{"name": "weather", "parameters": ROME}])
    assert await said(front, name, forced, tool_choice="required") == called()
    named = {"type": "function", "function": {"name": "weather"}}
    assert await said(front, name, forced, tool_choice=named) == called(finish_reason="stop")


@pytest.mark.parametrize("name", FORMATS)
async def test_only_one_of_several_choices_ends(front: Front, name: str) -> None:
    texts = [written(name), "No call.", written(name, ("now", {}))]
    assert await said(front, name, texts, n=3, choice=0) == called()
    assert await said(front, name, texts, n=3, choice=1) == Message("No call.")
    assert await said(front, name, texts, n=3, choice=2) == called(("now", {}))


@pytest.mark.parametrize("name", FORMATS)
async def test_parallel_calls_are_made_though_forbidden(front: Front, name: str) -> None:
    text = written(name, ("weather", ROME), ("now", {}))
    assert await said(front, name, text, parallel_tool_calls=False) == called()


@pytest.mark.parametrize("name", FORMATS)
async def test_white_space_before_a_call_is_content(front: Front, name: str) -> None:
    assert await said(front, name, "\n\n" + written(name)) == called()


@pytest.mark.parametrize("name", TAGGED)
async def test_text_before_or_after_a_call_is_lost(front: Front, name: str) -> None:
    text = f"I look.\n{written(name)}\nThen I say."
    assert await said(front, name, text) == called(content="I look.Then I say.")


@pytest.mark.parametrize("name", FORMATS)
async def test_text_that_looks_like_a_call_is_deleted(front: Front, name: str) -> None:
    text = written(name)
    assert await said(front, name, text, tool_choice="none") == Message(text)
    assert await said(front, name, text, tools=[]) == Message(text)


@pytest.mark.parametrize("name", FORMATS)
async def test_a_malformed_call_is_lost(front: Front, name: str) -> None:
    text = written(name)
    message = await said(front, name, text[: len(text) // 2] + " and so on")
    assert "and so on" in str(message)
    assert not any(tag in message.content for tag in ("<tool_call>", "<|tool_call_begin|>", "[TOOL_CALLS]"))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("text", ["2 < 3, [1] and {x} | y", "a <tool", "It is 5 <", "x [TOOL", "<", "[", "{"])
async def test_text_is_held_back_and_lost(front: Front, name: str, text: str) -> None:
    assert await said(front, name, text) == Message(text)


@pytest.mark.parametrize("name", FORMATS)
async def test_text_waits_for_its_end_where_tools_are_given(front: Front, name: str) -> None:
    text = "One two three four five six seven eight nine ten."
    asked = {
        "model": "guide",
        "tools": TOOLS,
        "messages": [{"role": "user", "content": str(Dialogue(text, calls=name))}],
    }
    chunks = await front.streamed(asked)
    plain = await front.streamed({key: value for key, value in asked.items() if key != "tools"})
    assert abs(len(chunks) - len(plain)) <= 1
