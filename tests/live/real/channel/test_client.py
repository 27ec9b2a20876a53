"""The Python client against the real server: the SDK's text, cancel, a cut connection, many side by side."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.live.servers.server import MODEL, Server
from twowire_client import Channel, ChannelError, Generation

MESSAGES = [{"role": "user", "content": "Tell me a long story about two wires."}]
TOKENS = 120


async def create(channel: Channel, tokens: int = TOKENS, grace_s: float | None = None) -> Generation:
    return await channel.create(
        model=MODEL, messages=MESSAGES, resume_grace_s=grace_s, temperature=0, max_tokens=tokens, ignore_eos=True
    )


async def by_sdk(server: Server, tokens: int = TOKENS) -> str:
    async with server.async_sdk() as sdk:
        answer = await sdk.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": str(MESSAGES[0]["content"])}],
            temperature=0,
            max_tokens=tokens,
            extra_body={"ignore_eos": True},
        )
    text = answer.choices[0].message.content
    assert text
    return text


class Relay:
    """A TCP connection's way to the server, which can be cut."""

    def __init__(self, port: int) -> None:
        self.url = ""
        self.connections = 0
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Relay]:
        listener = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            listener.close()
            self.cut()

    def cut(self) -> None:
        """Reset what goes through here, in both directions."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, server_writer]
        await asyncio.gather(_copy(reader, server_writer), _copy(server_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while received := await reader.read(65536):
            writer.write(received)
            await writer.drain()
    writer.transport.abort()


async def test_the_text_is_the_sdks(server: Server) -> None:
    async with Channel.connect(f"{server.url}/v1") as channel:
        generation = await create(channel)
        assert await generation.text() == await by_sdk(server)
        assert generation.id.startswith("chatcmpl-")
        assert generation.status == "completed"
        assert generation.usage is not None
        assert generation.usage["completion_tokens"] == TOKENS


async def test_eight_side_by_side_each_get_their_own(server: Server) -> None:
    lengths = [10 * (1 + number) for number in range(8)]
    whole = await by_sdk(server, max(lengths))
    async with Channel.connect(server.url) as channel:
        generations = await asyncio.gather(*(create(channel, length) for length in lengths))
        texts = await asyncio.gather(*(generation.text() for generation in generations))
    assert len(set(texts)) == 8
    assert all(whole.startswith(text) for text in texts)
    assert [(one.usage or {})["completion_tokens"] for one in generations] == lengths


async def test_cancel_ends_it_in_the_engine_and_leaves_its_neighbour(server: Server) -> None:
    async with Channel.connect(server.url) as channel:
        long, neighbour = await asyncio.gather(create(channel, 1500), create(channel))
        for _ in range(5):
            await anext(long)
        await long.cancel()
        rest = [chunk async for chunk in long]
        assert long.status == "cancelled"
        assert all(choice["finish_reason"] is None for chunk in rest for choice in chunk["choices"])
        assert long.usage is not None
        assert 0 < long.usage["completion_tokens"] < 1500
        assert await neighbour.text() == await by_sdk(server)


async def test_a_cut_connection_costs_neither_gap_nor_repetition(server: Server) -> None:
    whole = await by_sdk(server, 600)
    async with Relay(server.port).open() as relay, Channel.connect(relay.url) as channel:
        generation = await create(channel, 600, grace_s=30)
        text, cuts = "", 0
        async for chunk in generation:
            text += chunk["choices"][0]["delta"].get("content") or ""
            if cuts < 3 and generation.status is None and len(text) > 300 * (cuts + 1):
                cuts += 1
                relay.cut()
        assert text == whole
        assert generation.status == "completed"
        assert relay.connections == cuts + 1 > 1


async def test_a_refusal_is_an_exception_and_the_channel_goes_on(server: Server) -> None:
    async with Channel.connect(server.url) as channel:
        with pytest.raises(ChannelError) as refused:
            await channel.create(model="another", messages=MESSAGES)
        assert (refused.value.status, refused.value.code, refused.value.param) == (404, "model_not_found", "model")
        with pytest.raises(ChannelError) as refused:
            await channel.create(model=MODEL, messages=MESSAGES, temperature=3)
        assert (refused.value.status, refused.value.param) == (400, "temperature")
        assert await (await create(channel, 4)).text()


async def test_a_dialogue_that_was_read_ahead_is_in_the_cache(server: Server) -> None:
    turns = [
        {"role": "user", "content": "Read ahead: " + "and so on, " * 300},
        {"role": "assistant", "content": "Yes."},
    ]
    async with Channel.connect(server.url) as channel:
        told = await channel.prefill(model=MODEL, messages=[*turns, {"role": "user", "content": "…"}])
        assert told["status"] == "completed"
        assert told["usage"]["prompt_tokens"] > 300
        question = [*turns, {"role": "user", "content": "Is that all?"}]
        generation = await channel.create(model=MODEL, messages=question, max_tokens=1)
        await generation.text()
    assert generation.usage is not None
    assert generation.usage["prompt_tokens_details"]["cached_tokens"] > 300
