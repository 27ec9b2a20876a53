"""What went wrong elsewhere with tool calls, at the front door, in every format.

The text of a model comes a token at a time, merged at random, and in one piece; over HTTP as a stream and whole, and
on the channel. The message is the same.
"""

from __future__ import annotations

import pytest

from tests.app.generation.symptoms.front import (
    FORMATS,
    ROME,
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
from tests.live.servers.dialogue import Dialogue

pytestmark = pytest.mark.asyncio(loop_scope="module")

# -- the arguments of calls --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
async def test_arguments_are_broken_or_doubled(front: Front, name: str) -> None:
    given = {"city": 'a "b" \\ </tool_call> {x}', "days": -3, "more": {"days": [1, {"b": "}"}]}}
    assert await said(front, name, written(name, ("weather", given))) == called(("weather", given))


@pytest.mark.parametrize("name", FORMATS)
async def test_a_call_without_arguments_takes_those_of_the_next(front: Front, name: str) -> None:
    calls = [("now", {}), ("weather", ROME), ("now", {})]
    assert await said(front, name, written(name, *calls)) == called(*calls)


@pytest.mark.parametrize("name", FORMATS)
async def test_characters_become_escapes(front: Front, name: str) -> None:
    dialogue = Dialogue(written(name, ("weather", {"city": "서울 😀 ü"})), calls=name)
    body = {"model": "guide", "messages": [{"role": "user", "content": str(dialogue)}], "tools": TOOLS}
    (call,) = (await front.whole(body))["choices"][0]["message"]["tool_calls"]
    assert "서울 😀 ü" in call["function"]["arguments"]


@pytest.mark.parametrize("name", FORMATS)
async def test_a_long_argument_comes_only_at_its_end(front: Front, name: str) -> None:
    city = "so long a story " * 30
    body = {
        "model": "guide",
        "messages": [
            {"role": "user", "content": str(Dialogue(written(name, ("weather", {"city": city})), calls=name))}
        ],
        "tools": TOOLS,
    }
    chunks = await front.streamed(body)
    assert gathered(chunks) == called(("weather", {"city": city}))
    assert len(chunks) > 100


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("tokens", [6, 14])
async def test_cut_arguments_seem_complete(front: Front, name: str, tokens: int) -> None:
    text = written(name, ("weather", {"city": "Rome, the eternal city, and all that is around it"}))
    message = await said(front, name, text, max_tokens=tokens)
    assert message.finish_reason == "length"
    for call_name, arguments in message.calls:
        assert (call_name, type(arguments)) == ("weather", str), "a cut object is no JSON"


@pytest.mark.parametrize("name", FORMATS)
async def test_invalid_arguments_end_in_an_error(front: Front, name: str) -> None:
    message = await said(front, name, written(name).replace("Rome", 'Ro"me\\'))
    assert "Ro" in str(message)
    assert "me" in str(message)


# -- identity, number and end of calls ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
async def test_the_finish_reason_does_not_fit(front: Front, name: str) -> None:
    assert (await said(front, name, "No call.")) == Message("No call.")
    assert (await said(front, name, written(name))).finish_reason == "tool_calls"
    assert await said(front, name, forced(name), tool_choice="required") == called()
    named = {"type": "function", "function": {"name": "weather"}}
    assert await said(front, name, forced(name), tool_choice=named) == called(finish_reason="stop")


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
