"""How many channels there may be, in all and for one key, and that all of them hear of a drain."""

from __future__ import annotations

import pytest

from app.config.channel import ChannelCapacity
from app.limits.connections import Connections
from protocol.errors import Fault, TwowireError
from tests.app.channel.channels import Peer, open_harness, until


def refusal(connections: Connections, owner: str | None) -> TwowireError:
    with pytest.raises(TwowireError) as refused:
        connections.check_room(owner)
    return refused.value


async def test_there_is_room_for_so_many_in_all() -> None:
    async with open_harness() as harness:
        connections = Connections(ChannelCapacity(2, 10))
        peers = [harness.peer(), harness.peer()]
        for peer, owner in zip(peers, "xy", strict=True):
            connections.check_room(owner)
            connections.add(peer.channel, owner)
        error = refusal(connections, "z")
        assert (error.fault, error.fault.status) == (Fault.TOO_MANY_CONNECTIONS, 503)
        assert error.retry_after_s is not None
        assert error.message.startswith("2 ")
        connections.remove(peers[0].channel)
        connections.check_room("z")


async def test_there_is_room_for_so_many_of_one_key() -> None:
    async with open_harness() as harness:
        connections = Connections(ChannelCapacity(10, 1))
        peer: Peer = harness.peer()
        connections.add(peer.channel, "x")
        assert refusal(connections, "x").message.startswith("1 ")
        connections.check_room("y")
        connections.check_room(None)
        connections.remove(peer.channel)
        connections.check_room("x")


async def test_removing_twice_gives_back_one_place() -> None:
    async with open_harness() as harness:
        connections = Connections(ChannelCapacity(10, 2))
        first, second = harness.peer(), harness.peer()
        for peer in (first, second):
            connections.add(peer.channel, "x")
        for _ in range(2):
            connections.remove(first.channel)
        assert len(connections) == 1
        connections.add(first.channel, "x")
        assert refusal(connections, "x").fault is Fault.TOO_MANY_CONNECTIONS


async def test_all_of_them_hear_of_a_drain() -> None:
    async with open_harness() as harness:
        connections = Connections(ChannelCapacity(10, 10))
        peers = [harness.peer() for _ in range(3)]
        for peer in peers:
            connections.add(peer.channel, None)
        connections.drain()
        # Earlier answers, if only the greeting, are sent first.
        await until(lambda: all(peer.channel.ended.done() for peer in peers))
        assert [peer.channel.ended.result().code for peer in peers] == [1012] * 3
