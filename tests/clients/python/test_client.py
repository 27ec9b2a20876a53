"""The Python client against a small fake server on loopback: chats, cancels, errors, heartbeats, a slow reader.

What it does when the connection is lost is in `test_client_resume.py`.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

import app.client
import twowire_client
from tests.app.channel.fake_channel import LIMITS, USAGE, Peer, fake
from twowire_client import Channel, ChannelError, ConnectionLost, Generation

MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.fixture(autouse=True)
async def _nothing_is_left() -> AsyncIterator[None]:
    yield
    await asyncio.sleep(0)
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not left, left


async def create(channel: Channel, **more: Any) -> Generation:
    return await channel.create(model="m", messages=MESSAGES, **more)


async def test_a_generation_is_its_chunks_and_then_its_status_and_usage() -> None:
    async def script(peer: Peer) -> None:
        assert peer.headers["Authorization"] == "Bearer secret"
        assert "Sec-WebSocket-Extensions" not in peer.headers
        frame = await peer.next("chat.completion.create")
        assert frame["body"] == {"model": "m", "messages": MESSAGES, "temperature": 0}
        assert "resume" not in frame
        name = frame["stream_id"]
        await peer.send("chat.completion.created", stream_id=name, event_id=frame["event_id"], id="chatcmpl-1")
        await peer.chunks(name, 1, "hello")
        await peer.send("chat.completion.from_the_future", stream_id=name)
        await peer.done(name, 5)

    async with fake(script) as url, Channel.connect(f"{url}/v1/", api_key="secret") as channel:
        generation = await create(channel, temperature=0)
        assert generation.id == "chatcmpl-1"
        assert (await anext(generation))["choices"][0]["delta"]["content"] == "h"
        assert await generation.text() == "ello"
        assert (generation.status, generation.usage, generation.seq) == ("completed", USAGE, 5)
        with pytest.raises(StopAsyncIteration):
            await anext(generation)
        await generation.cancel()


async def test_two_streams_interleaved_are_kept_apart() -> None:
    async def script(peer: Peer) -> None:
        first, second = await peer.create(), await peer.create()
        for seq, (one, two) in enumerate(zip("abc", "xyz", strict=True), 1):
            await peer.chunks(second, seq, two)
            await peer.chunks(first, seq, one)
        await peer.done(second, 3)
        await peer.done(first, 3)

    async with fake(script) as url, Channel.connect(url) as channel:
        first, second = await asyncio.gather(create(channel), create(channel))
        assert await first.text() == "abc"
        assert await second.text() == "xyz"


async def test_errors_are_raised_where_they_belong() -> None:
    async def script(peer: Peer) -> None:
        wrong = {"message": "Too hot.", "type": "t", "param": "temperature", "code": "invalid_value"}
        await peer.refuse(await peer.next("chat.completion.create"), 400, wrong)
        name = await peer.create()
        await peer.chunks(name, 1, "ab")
        died = {"message": "The engine died.", "type": "server_error", "param": None, "code": "engine_died"}
        await peer.send("error", stream_id=name, event_id=name, status=503, error=died)
        await peer.done(name, 2, "failed")
        name = await peer.create()
        taken = {"message": "Another reader.", "type": "t", "param": None, "code": "taken_over"}
        await peer.send("error", stream_id=name, event_id=name, status=409, error=taken)

    async with fake(script) as url, Channel.connect(url) as channel:
        with pytest.raises(ChannelError, match="Too hot") as refused:
            await create(channel)
        assert (refused.value.status, refused.value.code, refused.value.param) == (400, "invalid_value", "temperature")
        failed = await create(channel)
        assert len([await anext(failed), await anext(failed)]) == 2
        with pytest.raises(ChannelError) as died:
            await anext(failed)
        assert (died.value.status, died.value.code, died.value.param) == (503, "engine_died", None)
        assert (failed.status, failed.usage) == ("failed", USAGE)
        with pytest.raises(ChannelError) as taken:
            await (await create(channel)).text()
        assert taken.value.code == "taken_over"


async def test_cancel_is_sent_once_and_what_was_made_still_comes() -> None:
    async def script(peer: Peer) -> None:
        name = await peer.create()
        await peer.chunks(name, 1, "a")
        assert (await peer.next("chat.completion.cancel"))["stream_id"] == name
        gone = {"message": "No stream.", "type": "t", "param": "stream_id", "code": "stream_not_found"}
        await peer.send("error", stream_id=name, status=404, error=gone)
        await peer.chunks(name, 2, "b")
        await peer.done(name, 2, "cancelled")
        await peer.create()
        await peer.next("chat.completion.cancel")

    async with fake(script) as url, Channel.connect(url) as channel:
        generation = await create(channel)
        await anext(generation)
        await generation.cancel()
        await generation.cancel()
        assert await generation.text() == "b"
        assert (generation.status, generation.usage) == ("cancelled", USAGE)
        async with await create(channel):
            pass  # Left early: it is cancelled.


async def test_a_create_that_is_given_up_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def script(peer: Peer) -> None:
        frame = await peer.next("chat.completion.create")
        assert (await peer.next("chat.completion.cancel"))["stream_id"] == frame["stream_id"]
        await peer.done(frame["stream_id"], 0, "cancelled")
        cancelled.set()

    async with fake(script) as url, Channel.connect(url) as channel:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(create(channel), 0.1)
        await cancelled.wait()


async def test_heartbeats_are_answered_and_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    beaten = asyncio.Event()
    monkeypatch.setitem(LIMITS, "ping_interval_s", 0.05)

    async def script(peer: Peer) -> None:
        await peer.next("ping")
        await peer.send("ping", t=1.5)
        assert (await peer.next("pong"))["t"] == 1.5
        beaten.set()

    async with fake(script) as url, Channel.connect(url):
        await beaten.wait()


async def test_chunks_that_nobody_reads_stop_the_socket_not_the_memory() -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        name = await peer.create()
        for seq in range(1, 20_001):
            choice = {"index": 0, "delta": {"content": "x" * 1000}}
            await peer.send("chat.completion.chunk", stream_id=name, seq=seq, data={"choices": [choice]})
            sent = seq
        await peer.done(name, 20_000)

    async with fake(script) as url, Channel.connect(url, max_buffered_chars=50_000) as channel:
        generation = await create(channel)
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.3)  # Long enough for the fake to send on, if it can.
        assert generation._chars < 60_000
        assert sent < 20_000
        assert len(await generation.text()) == 20_000_000
        assert generation.status == "completed"


async def test_refused_connections_and_refused_handshakes() -> None:
    with pytest.raises(ConnectionLost, match="cannot be reached"):
        async with Channel.connect("http://127.0.0.1:1"):
            pass
    async with fake(401) as url:
        with pytest.raises(ChannelError, match="No\\.") as refused:
            async with Channel.connect(url):
                pass
        assert (refused.value.status, refused.value.code, refused.value.retry_after_s) == (401, "code_401", 0)
    with pytest.raises(ValueError, match="url must be"):
        Channel.connect("127.0.0.1:8000")


async def test_a_request_that_is_too_large_is_refused_before_it_costs_the_connection() -> None:
    async def script(peer: Peer) -> None:
        await peer.done(await peer.create(), 0)

    async with fake(script) as url, Channel.connect(url) as channel:
        with pytest.raises(ChannelError) as refused:
            await channel.create(model="m", messages=[{"role": "user", "content": "x" * 5000}])
        assert (refused.value.status, refused.value.code) == (413, "request_too_large")
        assert await (await create(channel)).text() == ""


async def test_leaving_the_channel_ends_what_still_runs() -> None:
    async def script(peer: Peer) -> None:
        await peer.create("token")

    async with fake(script) as url:
        async with Channel.connect(url) as channel:
            generation = await create(channel, resume_grace_s=9)
        with pytest.raises(ConnectionLost, match="closed"):
            await generation.text()
        with pytest.raises(ConnectionLost, match="closed"):
            await create(channel)


def test_what_is_exported_and_the_older_name() -> None:
    exported = {"Channel", "ChannelError", "ConnectionLost", "Generation", "MessageBuilder", "run_tools"}
    assert set(twowire_client.__all__) == set(app.client.__all__) == exported
    assert all(getattr(app.client, name) is getattr(twowire_client, name) for name in exported)


def test_the_older_name_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "app.client")
    monkeypatch.setitem(sys.modules, "twowire_client", None)
    with pytest.raises(ImportError, match=r"pip install 'twowire\[client\]'"):
        importlib.import_module("app.client")


async def test_a_prompt_is_read_ahead_and_its_answer_is_told() -> None:
    async def script(peer: Peer) -> None:
        frame = await peer.next("chat.completion.prefill")
        assert frame["body"] == {"model": "m", "messages": MESSAGES, "tools": []}
        assert "stream_id" not in frame
        await peer.send("chat.completion.prefilled", event_id=frame["event_id"], status="completed", usage=USAGE)
        frame = await peer.next("chat.completion.prefill")
        busy = {"message": "Others wait.", "type": "server_error", "param": None, "code": "queue_full"}
        await peer.send("error", event_id=frame["event_id"], status=503, error=busy)
        await peer.next("chat.completion.prefill")
        peer.cut()

    async with fake(script) as url, Channel.connect(url) as channel:
        told = await channel.prefill(model="m", messages=MESSAGES, tools=[])
        assert told == {"status": "completed", "usage": USAGE}
        with pytest.raises(ChannelError, match="Others wait"):
            await channel.prefill(model="m", messages=MESSAGES)
        with pytest.raises(ConnectionLost):
            await channel.prefill(model="m", messages=MESSAGES)
