"""The channel over real sockets and the real engine: the same chunks as over HTTP, many at once, and cancel."""

from __future__ import annotations

import asyncio
import contextlib
import re
import statistics
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import openai
import orjson
import pytest

from tests.live.clients.channels import PATH, Channel, Stream, body, forget, opened, posted, read_on, text_of
from tests.live.servers.server import Server, left_as_found
from training.dialogues.topics import HELD_OUT, read_toml

MANY = 64
TOKENS = 24
ENGINE_TOKENS = "vllm:generation_tokens_total"
FREE_WITHIN_S = 0.2


@pytest.fixture
def server(server: Server) -> Iterator[Server]:
    with left_as_found(server):
        yield server


def alike(data: list[bytes]) -> list[bytes]:
    """Chunks without what differs between two generations: the id, and the second of their creation."""
    return [re.sub(rb'^\{"id":"chatcmpl-[0-9a-f]{32}","object":"([a-z.]+)","created":\d+', rb"\1", raw) for raw in data]


def by_choice(data: list[bytes]) -> list[bytes]:
    """Sorted by choice: which of several the engine tells of first is not the seed's to say."""
    return sorted(data, key=lambda raw: [choice["index"] for choice in orjson.loads(raw)["choices"]] or [9])


QUESTIONS = [question["text"] for question in read_toml(HELD_OUT / "topics.toml")["question"][::4]]
"""Neighbours in the file ask for the same, so every fourth: hardly two get the same answer."""


def prompt(number: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]}]}


# -- the same bytes --------------------------------------------------------------------------------------------------

SEEDED: dict[str, Any] = {"temperature": 0.8, "seed": 7, "max_tokens": 40, "stream_options": {"include_usage": True}}
SHAPES: list[dict[str, Any]] = [{}, {"logprobs": True, "top_logprobs": 3}, {"n": 2}]


@pytest.mark.parametrize("more", SHAPES, ids=["plain", "logprobs", "choices"])
async def test_chunks_are_byte_for_byte_those_of_server_sent_events(server: Server, more: dict[str, Any]) -> None:
    async def by_sse() -> list[bytes]:
        async with posted(server, **SEEDED, **more) as events:
            await events.read()
            assert events.is_done
            return alike(by_choice(events.data))

    async def by_channel() -> list[bytes]:
        async with opened(server) as channel:
            stream = await channel.create(**SEEDED, **more)
            await channel.finish()
            return alike(by_choice(stream.data))

    await by_sse()  # The prompt is in the cache from now on, which the usage tells.
    for _ in range(5):
        sse, frames = await by_sse(), await by_channel()
        assert sse[-1] == frames[-1], "the usage differs"
        if sse == frames:
            assert len(sse) > 10
            return
        # Where a reader was held up, the engine has merged steps; the text is the same all the same.
        assert len(sse) != len(frames), (sse, frames)
    pytest.fail("never the same chunks in five runs")


async def test_one_generation_reads_the_same_on_both_wires(server: Server) -> None:
    async with opened(server) as channel:
        stream = await channel.create(grace_s=60, **SEEDED)
        await channel.finish()
        async with read_on(server, stream.id, stream.token, 0) as events:
            await events.read()
        assert events.data == stream.data
        assert events.ids == list(range(1, stream.seq + 1))
        await forget(server, stream.id)


# -- many ------------------------------------------------------------------------------------------------------------


def assert_complete(streams: list[Stream], texts: list[str]) -> None:
    for stream, text in zip(streams, texts, strict=True):
        assert stream.done is not None
        assert not stream.errors
        assert (stream.done["status"], stream.done["usage"]["completion_tokens"]) == ("completed", TOKENS)
        assert stream.text == text


@pytest.fixture(scope="module")
def texts(shared_server: Server) -> list[str]:
    """What each of the many says when all is quiet but for three others."""

    async def ask(number: int, few: asyncio.Semaphore) -> str:
        async with few, posted(shared_server, max_tokens=TOKENS, **prompt(number)) as events:
            await events.read()
            return text_of(events.data)

    async def ask_all() -> list[str]:
        few = asyncio.Semaphore(4)
        return await asyncio.gather(*(ask(number, few) for number in range(MANY)))

    found = asyncio.run(ask_all())
    assert len(set(found)) > MANY / 2, "too much alike to notice a mix-up"
    return found


async def test_64_generations_on_one_socket(server: Server, texts: list[str]) -> None:
    async with opened(server) as channel:
        streams = [await channel.create(f"s{n}", max_tokens=TOKENS, **prompt(n)) for n in range(MANY)]
        await channel.until(lambda: all(stream.data for stream in streams))
        await channel.finish()
        assert not channel.others[1:]
    assert_complete(streams, texts)
    assert len({stream.id for stream in streams}) == MANY


async def test_64_sockets_with_one_generation_each(server: Server, texts: list[str]) -> None:
    async with AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(opened(server)) for _ in range(MANY)]
        streams = [await one.create(max_tokens=TOKENS, **prompt(n)) for n, one in enumerate(channels)]
        await asyncio.gather(*(channel.finish() for channel in channels))
    assert_complete(streams, texts)


# -- cancel ----------------------------------------------------------------------------------------------------------


async def test_cancel_ends_one_and_changes_nothing_for_the_others(server: Server) -> None:
    async def run(cancelled: str | None) -> dict[str, Stream]:
        async with opened(server) as channel:
            for number in range(8):
                await channel.create(f"s{number}", max_tokens=150, **prompt(number))
            if cancelled is not None:
                await channel.until(lambda: len(channel.streams[cancelled].data) > 20)
                await channel.cancel(cancelled)
            await channel.finish()
            return channel.streams

    whole = await run(None)
    before = server.metric(ENGINE_TOKENS)
    streams = await run("s3")
    one = streams.pop("s3")
    assert one.done is not None
    assert one.done["status"] == "cancelled"
    assert 20 <= one.done["usage"]["completion_tokens"] < 150
    assert whole["s3"].text.startswith(one.text)
    assert {name: stream.text for name, stream in streams.items()} == {name: whole[name].text for name in streams}
    made = sum(stream.done["usage"]["completion_tokens"] for stream in (one, *streams.values()) if stream.done)
    assert server.metric(ENGINE_TOKENS) - before == made


async def test_cancel_frees_the_slot_at_once(server: Server) -> None:
    loop, times = asyncio.get_running_loop(), []
    async with opened(server) as channel:
        await channel.create("other", max_tokens=1900)
        await channel.until(lambda: channel.streams["other"].data)
        for number in range(5):
            stream = await channel.create(f"s{number}", max_tokens=1900)
            await channel.until(lambda stream=stream: len(stream.data) > 5)  # type: ignore[misc]  # a default
            await channel.cancel(f"s{number}")
            started = time.monotonic()
            while await loop.run_in_executor(None, server.in_engine) > 2:  # This server's count, and vLLM's.
                assert time.monotonic() - started < 5
            times.append(time.monotonic() - started)
            await channel.until(lambda stream=stream: stream.is_over)  # type: ignore[misc]  # a default
        await channel.cancel("other")
        await channel.finish()
    print(f"cancel to free slot: {[round(t * 1000) for t in times]} ms")
    # Most of it is the question itself, by HTTP, on a machine that may be busy.
    assert statistics.median(times) < FREE_WITHIN_S


async def test_cancel_counts_the_tokens_that_the_engine_made(server: Server) -> None:
    async with opened(server) as channel:
        for number in range(4):
            before = server.metric(ENGINE_TOKENS)
            stream = await channel.create(f"s{number}", max_tokens=1900, stream_options={"include_usage": True})
            await channel.until(lambda stream=stream: len(stream.data) > 5)  # type: ignore[misc]  # a default
            await channel.cancel(f"s{number}")
            await channel.finish()
            assert stream.done is not None
            assert server.metric(ENGINE_TOKENS) - before == stream.done["usage"]["completion_tokens"]
            usage = stream.data[-1]
            assert b'"choices":[],"usage":{' in usage
            reasons = {choice["finish_reason"] for raw in stream.data for choice in orjson.loads(raw)["choices"]}
            assert reasons <= {None}


# -- DELETE ----------------------------------------------------------------------------------------------------------


async def test_delete_by_id_ends_a_stream_of_the_channel(server: Server) -> None:
    async with opened(server) as channel:
        stream = await channel.create(max_tokens=1900)
        await channel.until(lambda: len(stream.data) > 3)
        async with server.async_sdk() as sdk:
            deleted = await sdk.chat.completions.delete(stream.id)
        assert (deleted.id, deleted.deleted, deleted.object) == (stream.id, True, "chat.completion.deleted")
        await channel.finish()
    assert stream.done is not None
    assert stream.done["status"] == "cancelled"


async def test_delete_by_id_ends_a_stream_of_server_sent_events(server: Server) -> None:
    async with posted(server, max_tokens=1900) as events:
        await events.read(4)
        async with server.async_sdk() as sdk:
            await sdk.chat.completions.delete(events.id)
        await events.read()
        assert events.is_done
    assert len(events.data) < 1900


async def test_delete_of_what_does_not_run_is_a_404(server: Server) -> None:
    async with opened(server) as channel:
        stream = await channel.create(max_tokens=3)
        await channel.finish()
    async with server.async_sdk() as sdk:
        for id_ in (stream.id, "chatcmpl-unknown", "x"):
            with pytest.raises(openai.NotFoundError) as refused:
                await sdk.chat.completions.delete(id_)
            assert refused.value.code == "completion_not_found"


# -- leaving ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "cut"])
async def test_a_socket_that_goes_takes_its_generations_with_it(server: Server, how: str) -> None:
    async def leave(channel: Channel) -> None:
        await (channel.cut() if how == "cut" else channel.ws.close())

    with contextlib.suppress(Exception):
        async with opened(server) as channel:
            for number in range(8):
                await channel.create(f"s{number}", max_tokens=1900)
            await channel.until(lambda: all(len(stream.data) > 3 for stream in channel.streams.values()))
            await leave(channel)
    assert server.wait_idle(2) < 2


async def test_one_body_serves_both_wires(server: Server) -> None:
    async with opened(server) as channel:
        stream = await channel.create(stream=False)
        await channel.finish()
    async with httpx.AsyncClient(timeout=60) as client:
        whole = (await client.post(f"{server.url}{PATH}", json=body())).json()
    assert stream.text == whole["choices"][0]["message"]["content"]
