"""What is told of requests: one log line and one count each, on both wires, whatever became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from quart.testing.connections import WebsocketResponseError
from structlog.testing import capture_logs
from structlog.typing import EventDict

from app.factory import create_app
from protocol.errors import Fault, TwowireError
from protocol.output import Delta
from tests.app.channel.channels import BODY, CREATED, DONE, HANDSHAKE, Harness, begin_stream, open_harness, turn, until
from tests.app.generation.replay.resumables import begin
from tests.engine.fakes import words

CHAT = "/v1/chat/completions"
Lines = list[EventDict]


@pytest.fixture
def lines() -> Iterator[Lines]:
    with capture_logs() as captured:
        yield captured


def told(lines: Lines) -> list[EventDict]:
    return [line for line in lines if line["event"] == "request"]


def counted(harness: Harness) -> Counter[tuple[str, str]]:
    """How many requests the metrics have, by wire and outcome."""
    return Counter(
        {
            (sample.labels["wire"], sample.labels["outcome"]): int(sample.value)
            for family in harness.services.metrics.requests.collect()
            for sample in family.samples
            if sample.name.endswith("_total")
        }
    )


async def test_a_chat_of_a_channel_is_told_once_with_its_figures(lines: Lines) -> None:
    async with open_harness(steps=words("a", "b"), ends=True) as harness:
        peer = harness.peer(owner="0123456789abcdef")
        await peer.create("s", "e")
        done = await peer.wait_for(DONE)
        (line,) = told(lines)
        expected = {"connection": "connection", "frame": "chat.completion.create", "stream_id": "s", "event_id": "e"}
        assert expected.items() <= line.items()
        assert (line["wire"], line["route"], line["outcome"], line["key"]) == (
            "websocket",
            CHAT,
            "completed",
            "01234567",
        )
        assert line["model"] == "guide"
        assert line["id"] == peer.of(CREATED)[0]["id"]
        assert line["completion_tokens"] == done["usage"]["completion_tokens"] == 2
        assert 0 <= line["first_token_s"] <= line["duration_s"]
        assert counted(harness) == {("websocket", "completed"): 1}


async def test_the_ends_of_a_channels_streams_are_told_apart(lines: Lines) -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await begin_stream(harness, peer, "cancelled")
        await peer.cancel("cancelled")
        await peer.wait_for(DONE, "cancelled")
        await begin_stream(harness, peer, "failed")
        harness.streams[-1].fail(TwowireError(Fault.ENGINE_DIED, "gone"))
        await peer.wait_for(DONE, "failed")
        await peer.create("refused", body={"model": "another"})
        await peer.wait_for("error", "refused")
        await begin_stream(harness, peer, "left")
        await begin_stream(harness, peer, "detached", resume={"grace_s": 30})
        await peer.channel.close()
        fates = {line["stream_id"]: line["outcome"] for line in told(lines)}
        assert fates == {
            "cancelled": "cancelled",
            "failed": "failed",
            "refused": "refused",
            "left": "cancelled",
            "detached": "detached",
        }
        errors = {line["stream_id"]: line["error"] for line in told(lines) if "error" in line}
        assert errors == {"failed": "engine_died", "refused": "model_not_found"}
        assert sum(counted(harness).values()) == 5


async def test_a_create_that_the_end_of_the_connection_overtakes_is_told(lines: Lines) -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        await peer.create("a")
        await peer.channel.close()
        assert [line["outcome"] for line in told(lines)] == ["cancelled"]
        await peer.channel.close()
        assert counted(harness) == {("websocket", "cancelled"): 1}


async def test_who_comes_back_has_an_end_of_its_own(lines: Lines) -> None:
    async with open_harness() as harness:
        resumable = await begin(harness)
        first = await resumable.come_back(0, stream_id="first")
        await until(lambda: bool(first.of("chat.completion.resumed")))
        second = await resumable.come_back(0, stream_id="second")
        await until(lambda: bool(first.of("error")))
        resumable.stream.feed(Delta(0, "b", 1, "stop"))
        resumable.stream.end()
        await second.wait_for(DONE)
        fates = [(line["stream_id"], line["outcome"]) for line in told(lines)]
        assert fates == [("a", "detached"), ("first", "detached"), ("second", "completed")]


async def test_messages_that_are_none_are_refused_requests(lines: Lines) -> None:
    async with open_harness() as harness:
        peer = harness.peer()
        for message in ("nonsense", '{"type":"unknown","event_id":"e 1"}', '{"type":"unknown","event_id":"e-2"}'):
            await peer.say(message)
        await peer.cancel("nothing", "e-3")
        await turn()
        assert [line.get("event_id") for line in told(lines)] == [None, None, "e-2", "e-3"], "only plain words are told"
        assert {line["outcome"] for line in told(lines)} == {"refused"}
        assert counted(harness) == {("websocket", "refused"): 4}
        refusals = harness.services.metrics.refusals
        assert refusals.labels("stream_not_found")._value.get() == 1


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_an_http_chat_is_told_with_its_wire(lines: Lines, stream: bool) -> None:
    async with open_harness(steps=words("a", "b"), ends=True) as harness:
        client = create_app(harness.services).test_client()
        answer = await client.post(CHAT, json=BODY | {"stream": stream}, headers={"X-Request-Id": "mine"})
        await answer.get_data()
        (line,) = told(lines)
        wire = "sse" if stream else "http"
        assert (line["request_id"], line["wire"], line["outcome"], line["status"]) == ("mine", wire, "completed", 200)
        assert line["completion_tokens"] == 2
        assert counted(harness) == {(wire, "completed"): 1}


async def test_an_engine_that_dies_fails_a_request_and_a_wrong_one_is_refused(lines: Lines) -> None:
    async with open_harness() as harness:
        client = create_app(harness.services).test_client()
        harness.engine.refusal = TwowireError(Fault.ENGINE_DIED, "gone")
        assert (await client.post(CHAT, json=BODY)).status_code == 503
        assert (await client.post(CHAT, json=BODY | {"temperature": 3})).status_code == 400
        assert [(line["outcome"], line["error"]) for line in told(lines)] == [
            ("failed", "engine_died"),
            ("refused", "invalid_value"),
        ]


async def test_what_only_reads_is_told_at_debug(lines: Lines) -> None:
    async with open_harness() as harness:
        client = create_app(harness.services).test_client()
        for path in ("/v1/models", "/livez", "/nothing"):
            await client.get(path)
        levels = {line["route"]: line["log_level"] for line in told(lines)}
        assert levels == {"/v1/models": "debug", "/livez": "debug", "(unknown)": "info"}


async def test_no_key_is_told_whole(lines: Lines) -> None:
    async with open_harness(steps=words("a"), ends=True) as harness:
        owner = "f" * 64
        peer = harness.peer(owner=owner)
        await peer.create()
        await peer.wait_for(DONE)
        assert told(lines)[0]["key"] == "ffffffff"
        assert owner not in str(lines)


async def test_paths_that_are_no_routes_are_one_and_the_same(lines: Lines) -> None:
    async with open_harness() as harness:
        client = create_app(harness.services).test_client()
        await client.get("/nothing/1")
        for path in ("/nothing/2", "/v1/chat/completions/nothing"):
            async with client.websocket(path, headers={"Origin": "http://elsewhere.example"}) as socket:
                with pytest.raises(WebsocketResponseError):
                    await socket.receive()
        async with client.websocket(CHAT, headers=HANDSHAKE | {"Origin": "http://elsewhere.example"}) as socket:
            with pytest.raises(WebsocketResponseError):
                await socket.receive()
        routes = {(line["route"], line["wire"], line["outcome"]) for line in told(lines)}
        assert routes == {
            ("(unknown)", "http", "refused"),
            ("(unknown)", "websocket", "refused"),
            (CHAT, "websocket", "refused"),
        }
