"""What went wrong in other servers with the arguments of calls, tested end to end in every format."""

from __future__ import annotations

import pytest

from tests.app.generation.symptoms.front import FORMATS, ROME, TOOLS, Front, called, gathered, said, written
from tests.live.servers.dialogue import Dialogue

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
