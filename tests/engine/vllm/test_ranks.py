"""Steps and work by rank, and the end of a rank: with fakes of vLLM's objects, over real ZeroMQ sockets."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import zmq
import zmq.asyncio

from engine.vllm.ranks.connections import RankConnections
from engine.vllm.ranks.steps import Rank, Steps
from tests.engine.vllm.strangers import knock

SOON_S = 30


def outputs(rank: int, usage: float | None = None) -> Any:
    stats = None if usage is None else SimpleNamespace(kv_cache_usage=usage)
    return SimpleNamespace(engine_index=rank, scheduler_stats=stats)


class FakeCore:
    """vLLM's client, which gets these outputs."""

    def __init__(self, *given: Any) -> None:
        self._given = deque(given)

    async def get_output_async(self) -> Any:
        return self._given.popleft()


async def test_steps_are_counted_by_rank() -> None:
    core = FakeCore(outputs(0, 0.2), outputs(1), outputs(1, 0.6))
    steps = Steps(core, 2)
    assert (await core.get_output_async()).engine_index == 0
    assert steps.by_rank == [1, 0]
    assert steps.kv_cache_usage == pytest.approx(0.1)
    for _ in range(2):
        await core.get_output_async()
    assert steps.by_rank == [1, 2]
    assert steps.kv_cache_usage == pytest.approx(0.4)
    first, second = steps.told_at
    assert 0 < first <= second


async def test_before_the_first_report_nothing_is_known_of_the_cache() -> None:
    core = FakeCore(outputs(0))
    steps = Steps(core, 1)
    await core.get_output_async()
    assert (steps.by_rank, steps.kv_cache_usage, steps.told_at) == ([1], None, [0.0])


async def test_a_rank_is_busy_while_a_request_that_was_sent_to_it_has_not_ended() -> None:
    states: dict[str, object] = {"a": object()}
    core = SimpleNamespace(reqs_in_flight={"a": b"\1\0"}, core_engines=[b"\0\0", b"\1\0"])
    llm = SimpleNamespace(output_processor=SimpleNamespace(request_states=states), engine_core=core)
    beats = []

    async def beat(rank: int) -> None:
        beats.append(rank)

    ranks = [Rank(llm, number, [7, 8].__getitem__, beat) for number in range(2)]
    assert [rank.is_busy for rank in ranks] == [False, True]
    assert [rank.steps_taken for rank in ranks] == [7, 8]
    # Ended for the client: the engine core may say so later, or never.
    states.clear()
    assert not ranks[1].is_busy
    await ranks[1].heartbeat()
    assert beats == [1]


@asynccontextmanager
async def connected(
    folder: Path | None, processes: list[Any]
) -> AsyncIterator[tuple[RankConnections, list[zmq.Socket[bytes]]]]:
    """A client's socket, in `folder` or on loopback, with two ranks connected to it."""
    with zmq.asyncio.Context() as context, zmq.Context() as theirs:
        router = context.socket(zmq.ROUTER)
        router.bind(f"ipc://{folder}/in" if folder is not None else "tcp://127.0.0.1:*")
        address = router.getsockopt_string(zmq.LAST_ENDPOINT)
        manager = SimpleNamespace(processes=processes) if processes else None
        core = SimpleNamespace(
            input_socket=router, core_engines=[b"\0\0", b"\1\0"], resources=SimpleNamespace(engine_manager=manager)
        )
        ranks: list[zmq.Socket[bytes]] = []
        for identity in core.core_engines:
            rank = theirs.socket(zmq.DEALER)
            rank.setsockopt(zmq.IDENTITY, identity)
            rank.connect(address)
            rank.send(b"")
            await asyncio.wait_for(router.recv_multipart(), SOON_S)
            ranks.append(rank)
        connections = RankConnections(core)
        try:
            yield connections, ranks
        finally:
            await connections.close()
            for socket in (router, *ranks):
                socket.close(linger=0)


async def test_the_end_of_a_remote_rank_is_noticed(tmp_path: Path) -> None:
    async with connected(tmp_path, [SimpleNamespace(exitcode=None)]) as (connections, ranks):
        done, _ = await asyncio.wait({connections.lost}, timeout=0.05)
        assert not done
        ranks[1].close(linger=0)
        await asyncio.wait_for(asyncio.shield(connections.lost), SOON_S)
        assert await connections.who() == "rank 1, on another machine, is gone"


async def test_a_stranger_is_no_rank() -> None:
    async with connected(None, [SimpleNamespace(exitcode=None)]) as (connections, ranks):
        port = int(ranks[0].getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
        for _ in range(3):
            await asyncio.to_thread(knock, port)
        done, _ = await asyncio.wait({connections.lost}, timeout=0.05)
        assert not done
        ranks[1].close(linger=0)
        await asyncio.wait_for(asyncio.shield(connections.lost), SOON_S)


async def test_of_a_local_rank_the_exit_code_is_told(tmp_path: Path) -> None:
    processes = [SimpleNamespace(exitcode=None), SimpleNamespace(exitcode=-9)]
    async with connected(tmp_path, processes) as (connections, ranks):
        ranks[1].close(linger=0)
        await asyncio.wait_for(asyncio.shield(connections.lost), SOON_S)
        assert await connections.who() == "rank 1 (exit code -9) ended unexpectedly"


async def test_that_vllm_closes_its_socket_does_no_harm(tmp_path: Path) -> None:
    async with connected(tmp_path, []) as (connections, _):
        connections._socket.close(linger=0)
        await asyncio.wait_for(connections.close(), SOON_S)
        assert connections.lost.cancelled()
