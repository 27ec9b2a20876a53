"""Both doors of one server, whose engine says what a test has written, and what a client makes of its answers."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import orjson
from quart import Quart

from engine.api import EngineStream, Prepared, PreparedPrompt
from protocol.generation import ChatPrompt, GenerationRequest
from tests.app.channel.channels import CHUNK, DONE, Peer
from tests.engine.fakes import FakeEngine
from tests.engine.parsing.written import BARE, WRITERS
from tests.live.servers.dialogue import Dialogue, dialogue_in
from tests.live.servers.scripted import open_stream, prepare

PATH = "/v1/chat/completions"
CUTS: tuple[str | int, ...] = ("tokens", 1, 2, "whole")
FORMATS = ("hermes", "qwen3_coder", "glm45", "kimi_k2", "deepseek_v32", "mistral", "llama3_json", "pythonic")
TAGGED = tuple(name for name in FORMATS if name not in BARE)
FORCED = ("hermes", "kimi_k2", "llama3_json")
"""Those whose calls a grammar holds in their own form, with the guide's tokens."""
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


def forced(name: str) -> str:
    """A call to Rome as a grammar makes the model write it."""
    return written(name) if name in FORCED else json.dumps([{"name": "weather", "parameters": ROME}])
