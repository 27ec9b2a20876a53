"""OpenAI's WebSocket protocol: lanes, their order, errors, and what clients send."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from protocol.channel.responses_codec import ResponsesCodec
from protocol.output import Delta
from tests.app.channel.responses.lane_clients import connected, finish, running, text_of, until
from tests.engine.fakes import words


async def test_a_response_is_its_events_and_nothing_else() -> None:
    async with connected(steps=words("so", " be"), ends=True) as (_, client):
        await client.ask()
        last = await client.last()
    assert [frame["sequence_number"] for frame in client.frames] == list(range(len(client.frames)))
    assert client.kinds() == [
        *("response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"),
        *("response.output_text.delta", "response.output_text.delta", "response.output_text.done"),
        *("response.content_part.done", "response.output_item.done", "response.completed"),
    ]
    assert text_of(last) == "so be"


async def test_a_lane_answers_in_order_and_never_at_once() -> None:
    async with connected() as (harness, client):
        for text in ("one", "two", "three"):
            await client.ask(text, "a")
        first = await running(harness, 1)
        finish(first, "1")
        assert text_of(await client.last("a")) == "1"
        second = await running(harness, 2)
        finish(second, "2")
        finish(await running(harness, 3), "3")
        assert text_of(await client.last("a", 3)) == "3"
        asked = [request.prompt.messages[0]["content"] for request in harness.engine.prepared]  # type: ignore[union-attr]  # chats
    assert asked == ["one", "two", "three"]


async def test_lanes_answer_side_by_side_and_name_their_frames() -> None:
    async with connected() as (harness, client):
        await client.ask("one", "a")
        await client.ask("two", "b")
        await client.ask("three")
        await running(harness, 3)
        for stream, text in zip(harness.streams, "123", strict=True):
            finish(stream, text)
        assert [text_of(await client.last(lane)) for lane in ("a", "b", None)] == ["1", "2", "3"]
        assert client.raw[0].endswith(b',"stream_id":"a"}')


async def test_an_error_waits_for_its_turn() -> None:
    async with connected() as (harness, client):
        await client.ask("one", "a")
        stream = await running(harness, 1)
        await client.ask("two", "a", background=True)
        await client.ask("three", "a", temperature=9)
        await client.ask("four", "b", background=True)
        assert (await client.last("b"))["error"]["param"] == "background"
        finish(stream)
        ends = [await client.last("a", count) for count in (1, 2, 3)]
    assert [end["type"] for end in ends] == ["response.completed", "error", "error"]
    assert [end["error"]["param"] for end in ends[1:]] == ["background", "temperature"]
    assert [end["status"] for end in ends[1:]] == [400, 400]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "invalid_json"),
        (b"\x00", "invalid_json"),
        ('{"type":"chat.completion.create"}', "invalid_value"),
        ("{}", "invalid_value"),
    ],
)
async def test_another_message_is_an_error_and_the_connection_stays(message: str | bytes, code: str) -> None:
    async with connected(steps=words("x"), ends=True) as (_, client):
        await client.say(message)
        await until(lambda: client.frames)
        assert (client.frames[0]["type"], client.frames[0]["error"]["code"]) == ("error", code)
        await client.ask()
        await until(lambda: "response.completed" in client.kinds())


async def test_the_frames_of_codex_are_taken() -> None:
    metadata: dict[str, Any] = {
        "client_metadata": {"x-codex-turn": "1"},
        "stream": True,
        "include": [],
        "prompt_cache_key": "k",
    }
    async with connected(steps=words("x"), ends=True) as (_, client):
        await client.ask(generate=False, **metadata)
        warm = await client.last()
        await client.say({"type": "response.processed", "response_id": warm["response"]["id"]})
        await client.ask(previous_response_id=warm["response"]["id"], **metadata)
        last = await client.last(count=2)
    assert last["type"] == "response.completed"
    assert "error" not in client.kinds()


async def test_a_response_that_generates_nothing_can_be_continued() -> None:
    async with connected(steps=words("x"), ends=True) as (harness, client):
        await client.ask("one", generate=False)
        warm = await client.last()
        assert client.kinds() == ["response.created", "response.in_progress", "response.completed"]
        assert (warm["response"]["status"], warm["response"]["output"]) == ("completed", [])
        (stream,) = harness.streams
        assert stream.closed, "the prompt is computed, and nothing else"
        await client.ask("two", previous_response_id=warm["response"]["id"])
        await client.last(count=2)
        request = harness.engine.prepared[-1]
    assert [message["content"] for message in request.prompt.messages] == ["one", "two"]  # type: ignore[union-attr]  # a chat


async def test_what_generates_nothing_fails_as_other_responses_do() -> None:
    async with connected() as (harness, client):
        await client.ask(generate=False)
        await running(harness, 1)
        harness.engine.kill()
        failed = await client.last()
    assert client.kinds() == ["response.created", "response.in_progress", "response.failed"]
    assert [frame["sequence_number"] for frame in client.frames] == [0, 1, 2]
    assert failed["response"]["error"]["code"] == "server_error"


async def test_a_connection_that_ends_ends_what_is_prepared() -> None:
    async with connected() as (harness, client):
        await client.ask(generate=False)
        stream = await running(harness, 1)
        await client.channel.close()
        assert stream.closed


async def test_a_failed_engine_ends_the_response_and_not_the_connection() -> None:
    async with connected() as (harness, client):
        await client.ask(lane="a")
        stream = await running(harness, 1)
        stream.feed(Delta(0, "so", 1))
        harness.engine.kill()
        failed = await client.last("a")
        assert not client.channel.ended.done()
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert client.kinds("a")[-2] == "response.output_item.done"


def test_an_event_is_the_same_bytes_with_and_without_a_lane() -> None:
    codec = ResponsesCodec()
    event = orjson.dumps({"type": "response.created"})
    assert codec.chunk(codec.chunk_head(""), 1, event) == event
    assert codec.chunk(codec.chunk_head("a"), 1, event) == event[:-1] + b',"stream_id":"a"}'
    before, number, after = codec.text_frame("a", (b'{"delta":', b"}"))
    assert number is None
    assert before + b'"x"' + after == b'{"delta":"x","stream_id":"a"}'
