"""The fast path of the channel: its frames are numbered, and wait for a busy socket."""

from __future__ import annotations

import orjson

from app.channel.local_backend import ChannelBackend
from app.channel.session import Channel
from app.config.channel import ChannelLimits
from app.generation.table import CHAT
from app.security.caller import Caller
from protocol.channel.codec import ChannelCodec
from protocol.output import Delta
from tests.app.channel.channels import CHUNK, CREATED, DONE, Harness, Peer, open_harness, until
from tests.app.generation.outlet import Outlet


def peer_with(harness: Harness, outlet: Outlet) -> Peer:
    """A client whose channel writes to `outlet` on the fast path."""
    backend = ChannelBackend(harness.services, CHAT, Caller.of(None, None), "connection")
    peer = Peer(
        lambda peer: Channel(
            "c", backend, ChannelCodec(), peer.take, ChannelLimits(), write=lambda part: deliver(peer, part)
        )
    )

    def deliver(peer: Peer, part: bytes) -> bool:
        if outlet.write(part):
            peer.raw.append(part)
            peer.frames.append(orjson.loads(part))
            return True
        return False

    harness.peers.append(peer)
    peer.channel.start()
    return peer


async def test_a_channel_numbers_all_its_chunks_in_order() -> None:
    async with open_harness() as harness:
        outlet = Outlet()
        peer = peer_with(harness, outlet)
        await peer.create("a")
        await peer.wait_for(CREATED)
        await until(lambda: harness.streams)
        for number, text in enumerate("abcdef"):
            # Two on the fast path, then one on the ordinary path.
            outlet.is_open = number % 3 != 2
            harness.streams[0].feed(Delta(0, text, 1))
            said = "abcdef"[: number + 1]
            await until(lambda said=said: peer.text("a") == said)  # type: ignore[misc]  # bound now
        written = [orjson.loads(part) for part in outlet.parts]
        texts = [frame["data"]["choices"][0]["delta"].get("content") for frame in written if frame["type"] == CHUNK]
        assert list(filter(None, texts)) == ["a", "b", "d", "e"]
        harness.streams[0].feed(Delta(0, "", 1, "stop"))
        harness.streams[0].end()
        done = await peer.wait_for(DONE)
        assert [frame["seq"] for frame in peer.of(CHUNK)] == list(range(1, 9))
        assert (done["seq"], done["usage"]["completion_tokens"]) == (8, 7)


async def test_a_channel_whose_socket_is_busy_takes_no_fast_path() -> None:
    async with open_harness() as harness:
        outlet = Outlet()
        peer = peer_with(harness, outlet)
        await peer.create("a")
        await peer.create("b")
        await until(lambda: len(harness.streams) == 2)
        for stream in harness.streams:
            stream.feed(Delta(0, "x", 1))
        await until(lambda: peer.text("a") == peer.text("b") == "x")
        written = len(outlet.parts)
        peer.takes.clear()
        outlet.is_open = False
        harness.streams[0].feed(Delta(0, "1", 1))
        await until(lambda: peer.text("a") == "x1")
        outlet.is_open = True
        harness.streams[1].feed(Delta(0, "1", 1))
        assert len(outlet.parts) == written, "a frame waits for the socket, and this one waits behind it"
        peer.takes.set()
        await until(lambda: peer.text("b") == "x1")


async def test_a_resumable_stream_goes_through_its_buffer() -> None:
    async with open_harness() as harness:
        outlet = Outlet()
        peer = peer_with(harness, outlet)
        await peer.create("a", resume={"grace_s": 5})
        await until(lambda: harness.streams)
        before = harness.services.replays.bytes
        harness.streams[0].feed(Delta(0, "x" * 99, 1))
        await until(lambda: peer.text("a") == "x" * 99)
        assert harness.services.replays.bytes > before + 99
