"""The Python client reads the server's load."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from tests.app.channel.fake_channel import Peer, fake
from twowire_client import Channel, ChannelError, ConnectionLost

SUBSCRIBE = "server.stats.subscribe"


async def test_the_load_is_read_until_the_reader_leaves() -> None:
    async def script(peer: Peer) -> None:
        frame = await peer.next(SUBSCRIBE)
        assert frame["interval_s"] == 2
        for running in (1, 2):
            await peer.send("server.stats", running=running, streams=[])
        await peer.next("server.stats.unsubscribe")
        await peer.next(SUBSCRIBE)
        await peer.send("server.stats", streams=[])
        await peer.next("server.stats.unsubscribe")

    async with fake(script) as url, Channel.connect(url) as channel:
        async with aclosing(channel.stats(2)) as reports:
            async for report in reports:
                assert report["streams"] == []
                if report["running"] == 2:
                    break
        async with aclosing(channel.stats()) as reports:
            assert await anext(reports) == {"streams": []}


async def test_a_refusal_is_an_error_and_a_second_reader_too() -> None:
    async def script(peer: Peer) -> None:
        frame = await peer.next(SUBSCRIBE)
        await peer.send("server.stats", streams=[])
        error = {"message": "no", "code": "forbidden_stats"}
        await peer.next("server.stats.unsubscribe")
        frame = await peer.next(SUBSCRIBE)
        await peer.send("error", event_id=frame["event_id"], status=403, error=error)
        await peer.next("server.stats.unsubscribe")

    async with fake(script) as url, Channel.connect(url) as channel:
        async with aclosing(channel.stats()) as reports:
            await anext(reports)
            with pytest.raises(RuntimeError):
                await anext(channel.stats())
        with pytest.raises(ChannelError) as refused:
            await anext(channel.stats())
        assert refused.value.code == "forbidden_stats"


async def test_a_lost_connection_ends_it() -> None:
    async def script(peer: Peer) -> None:
        await peer.next(SUBSCRIBE)
        peer.cut()

    async with fake(script) as url, Channel.connect(url) as channel:
        with pytest.raises(ConnectionLost):
            await anext(channel.stats())


async def test_it_goes_on_where_the_connection_is_restored() -> None:
    async def before(peer: Peer) -> None:
        await peer.create(token="t")
        await peer.next(SUBSCRIBE)
        peer.cut()

    async def after(peer: Peer) -> None:
        await peer.next(SUBSCRIBE)
        frame = await peer.next("chat.completion.resume")
        await peer.send("server.stats", streams=[])
        await peer.done(frame["stream_id"], 0)
        await peer.next("server.stats.unsubscribe")

    async with fake(before, after) as url, Channel.connect(url) as channel:
        await channel.create(model="m", messages=[{"role": "user", "content": "Hello"}], resume_grace_s=9)
        async with aclosing(channel.stats()) as reports:
            assert await anext(reports) == {"streams": []}
