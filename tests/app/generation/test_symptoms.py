"""What went wrong elsewhere with tool calls and thoughts, at the front door, in every format.

The text of a model comes a token at a time, merged at random, and in one piece; over HTTP as a stream and whole, and
on the channel. The message is the same.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
import pytest_asyncio
from quart import Quart

from app.factory import create_app
from engine.api import EngineStream, Prepared, PreparedPrompt, StageReport
from protocol.generation import ChatPrompt, GenerationRequest
from tests.app.channel.channels import CHUNK, DONE, Harness, Peer
from tests.engine.fakes import FakeEngine
from tests.engine.parsing.written import BARE, WRITERS
from tests.live.servers.dialogue import Dialogue, dialogue_in
from tests.live.servers.scripted import open_stream, prepare

PATH = "/v1/chat/completions"
CUTS: tuple[str | int, ...] = ("tokens", 1, 2, "whole")
FORMATS = ("hermes", "qwen3_coder", "glm45", "kimi_k2", "deepseek_v32", "mistral", "llama3_json", "pythonic")
TAGGED = tuple(name for name in FORMATS if name not in BARE)
pytestmark = pytest.mark.asyncio(loop_scope="module")
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "more": {"type": "object"},
    },
}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
]
ROME = {"city": "Rome", "days": 3}


class ScriptedEngine(FakeEngine):
    """Answers with the dialogue in the request, through the parsers of the real engine."""

    async def prepare(self, request: GenerationRequest, client: str = "") -> Prepared:
        assert isinstance(request.prompt, ChatPrompt)
        dialogue = dialogue_in(request.prompt.messages)
        assert dialogue is not None
        prompt = await prepare(dialogue, request)
        return Prepared((prompt,), prompt.token_count, request.n)

    async def open(self, prompt: PreparedPrompt, request_id: str) -> EngineStream:
        return open_stream(prompt)[0]


@dataclass
class Front:
    """Both doors of one server."""

    app: Quart
    peer: Peer
    streams: int = 0

    async def whole(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self.app.test_client().post(PATH, json=body)
        data: dict[str, Any] = await answer.get_json()
        assert answer.status_code == 200, data
        return data

    async def streamed(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        more = {"stream": True, "stream_options": {"include_usage": True}}
        answer = await self.app.test_client().post(PATH, json=body | more)
        text = await answer.get_data(as_text=True)
        assert answer.status_code == 200, text
        events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
        assert events[-1] == "[DONE]"
        return [orjson.loads(event) for event in events[:-1]]

    async def on_channel(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        self.streams += 1
        name = f"s{self.streams}"
        await self.peer.create(name, body=body | {"stream_options": {"include_usage": True}})
        done = await self.peer.wait_for(DONE, name)
        assert done["status"] == "completed"
        chunks = [frame["data"] for frame in self.peer.of(CHUNK, name)]
        self.peer.frames.clear()
        return chunks


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def front() -> AsyncIterator[Front]:
    harness = Harness()

    async def start(report: StageReport) -> ScriptedEngine:
        return ScriptedEngine()

    harness.manager._factory = start
    harness.manager.start()
    await harness.manager.wait_settled()
    yield Front(create_app(harness.services), harness.peer())
    await harness.close()
    await harness.manager.stop()


@dataclass(frozen=True)
class Message:
    """What an answer says; ids are left out, and arguments are JSON."""

    content: str = ""
    calls: tuple[tuple[str, Any], ...] = ()
    reasoning: str = ""
    finish_reason: str = "stop"


def _arguments(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def gathered(chunks: list[dict[str, Any]], choice_index: int = 0) -> Message:
    """The message of a choice, as OpenAI's library adds it up; every delta has the form that clients rely on."""
    content, reasoning = "", ""
    names: list[str] = []
    reasons: list[str] = []
    arguments: defaultdict[int, str] = defaultdict(str)
    for chunk in chunks:
        for choice in chunk["choices"]:
            if choice["index"] != choice_index:
                continue
            delta = choice["delta"]
            assert None not in (delta.get("content", ""), delta.get("tool_calls", ""))
            assert delta.get("reasoning") == delta.get("reasoning_content")
            assert not reasons, "nothing comes after the finish_reason"
            if choice["finish_reason"] is not None:
                assert delta == {}
                reasons.append(choice["finish_reason"])
            content += delta.get("content", "")
            reasoning += delta.get("reasoning", "")
            for call in delta.get("tool_calls", ()):
                if call["index"] == len(names):
                    assert (call.keys(), call["type"]) == ({"index", "id", "type", "function"}, "function")
                    assert call["id"]
                    names.append(call["function"]["name"])
                else:
                    assert (call.keys(), call["function"].keys()) == ({"index", "function"}, {"arguments"})
                    assert call["index"] == len(names) - 1
                arguments[call["index"]] += call["function"]["arguments"]
    (reason,) = reasons
    calls = tuple((name, _arguments(arguments[index])) for index, name in enumerate(names))
    return Message(content, calls, reasoning, reason)


def message_of(answer: dict[str, Any], choice_index: int = 0) -> Message:
    choice = answer["choices"][choice_index]
    message = choice["message"]
    assert message.get("reasoning") == message.get("reasoning_content")
    made = tuple(
        (call["function"]["name"], _arguments(call["function"]["arguments"])) for call in message.get("tool_calls", ())
    )
    assert (message["content"] is None) == (bool(made) and not message["content"])
    return Message(message["content"] or "", made, message.get("reasoning", ""), choice["finish_reason"])


async def said(front: Front, name: str, text: str | list[str], *, choice: int = 0, **body: Any) -> Message:
    """The message of `text`: the same however it comes, on both wires, with the same usage."""
    messages, usages = [], []
    for cut in CUTS:
        dialogue = Dialogue(text, calls=name, cut=cut)
        asked = {"model": "guide", "messages": [{"role": "user", "content": str(dialogue)}], "tools": TOOLS} | body
        streams = [await front.streamed(asked)]
        if cut in ("tokens", 1):
            streams.append(await front.on_channel(asked))
        messages += [gathered(stream, choice) for stream in streams]
        usages += [stream[-1]["usage"] for stream in streams]
        if cut in ("tokens", "whole"):
            answer = await front.whole(asked)
            messages.append(message_of(answer, choice))
            usages.append(answer["usage"])
    assert all(message == messages[0] for message in messages), messages
    totals = {(usage["completion_tokens"], bool(usage.get("completion_tokens_details"))) for usage in usages}
    assert len(totals) == 1, "the usage depends on how the text came"
    assert totals.pop()[1] == (messages[0].reasoning != "")
    return messages[0]


def written(name: str, *calls: tuple[str, dict[str, Any]]) -> str:
    return WRITERS[name](calls or [("weather", ROME)])


def called(*calls: tuple[str, Any], **more: Any) -> Message:
    fields: dict[str, Any] = {"finish_reason": "tool_calls"} | more
    return Message(calls=calls or (("weather", ROME),), **fields)


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


# -- thoughts ----------------------------------------------------------------------------------------------------------

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
