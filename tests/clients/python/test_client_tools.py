"""What the Python client makes of reasoning and tool calls, and its loop that runs tools."""

from __future__ import annotations

from typing import Any

from tests.app.channel.fake_channel import Peer, fake
from twowire_client import Channel, MessageBuilder, run_tools

QUESTION = {"role": "user", "content": "What is the weather in Rome?"}


def chunk(index: int = 0, finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish_reason}]}


def begun(number: int, name: str, arguments: str = "") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"index": number, "id": f"call_{number}", "type": "function", "function": function}


def called(number: int, name: str, arguments: str) -> dict[str, Any]:
    return {key: value for key, value in begun(number, name, arguments).items() if key != "index"}


def built(*chunks: dict[str, Any]) -> MessageBuilder:
    builder = MessageBuilder()
    for one in chunks:
        builder.add(one)
    return builder


def test_chunks_add_up_to_the_message() -> None:
    builder = built(
        chunk(role="assistant", refusal=None),
        chunk(reasoning="Hm", reasoning_content="Hm"),
        chunk(content="I "),
        chunk(1, content="of another choice"),
        chunk(content="look."),
        chunk(tool_calls=[begun(0, "f")]),
        chunk(tool_calls=[{"index": 0, "function": {"arguments": '{"a"'}}]),
        chunk(tool_calls=[{"index": 0, "function": {"arguments": ": 1}"}}, begun(1, "g", "{}")]),
        chunk(finish_reason="tool_calls"),
    )
    assert builder.finish_reason == "tool_calls"
    assert builder.message == {
        "role": "assistant",
        "content": "I look.",
        "reasoning": "Hm",
        "tool_calls": [called(0, "f", '{"a": 1}'), called(1, "g", "{}")],
    }


def test_a_custom_tools_input_is_text() -> None:
    start = {"index": 0, "id": "a", "type": "custom", "custom": {"name": "sh", "input": ""}}
    message = built(chunk(tool_calls=[start]), chunk(tool_calls=[{"index": 0, "custom": {"input": "ls"}}])).message
    assert message["content"] is None
    assert message["tool_calls"] == [{"id": "a", "type": "custom", "custom": {"name": "sh", "input": "ls"}}]


class Model:
    """A fake server's model: it answers each create with the next of `answers`, and keeps the requests."""

    def __init__(self, *answers: list[dict[str, Any]]) -> None:
        self.answers = list(answers)
        self.asked: list[list[dict[str, Any]]] = []

    async def __call__(self, peer: Peer) -> None:
        for chunks in self.answers:
            frame = await peer.next("chat.completion.create")
            self.asked.append(frame["body"]["messages"])
            name = frame["stream_id"]
            await peer.send("chat.completion.created", stream_id=name, event_id=frame["event_id"], id=f"c-{name}")
            for seq, data in enumerate(chunks, 1):
                await peer.send("chat.completion.chunk", stream_id=name, seq=seq, data=data)
            await peer.done(name, len(chunks))


async def weather(city: str) -> dict[str, Any]:
    return {"city": city, "degrees": 18}


async def test_tools_are_run_until_the_model_answers() -> None:
    model = Model(
        [chunk(tool_calls=[begun(0, "weather", '{"city": "Rome"}'), begun(1, "no_such", "{}")])],
        [chunk(content="18 degrees.")],
    )
    async with fake(model) as url, Channel.connect(url) as channel:
        gained = await run_tools(channel, {"weather": weather}, model="m", messages=[QUESTION])
    assert [message["role"] for message in gained] == ["assistant", "tool", "tool", "assistant"]
    assert gained[1] == {"role": "tool", "tool_call_id": "call_0", "content": '{"city": "Rome", "degrees": 18}'}
    assert gained[2]["content"].startswith("error: KeyError")
    assert gained[-1]["content"] == "18 degrees."
    assert model.asked == [[QUESTION], [QUESTION, *gained[:3]]]


async def test_the_rounds_of_calls_are_bounded() -> None:
    answers = [[chunk(tool_calls=[begun(0, "weather", '{"city": "Rome"}')])] for _ in range(3)]
    model = Model(*answers)
    async with fake(model) as url, Channel.connect(url) as channel:
        gained = await run_tools(channel, {"weather": weather}, max_rounds=2, model="m", messages=[QUESTION])
    assert [message["role"] for message in gained] == ["assistant", "tool", "assistant", "tool", "assistant"]
    assert gained[-1]["tool_calls"]
