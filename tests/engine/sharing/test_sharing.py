"""One engine, a leader and followers: over real sockets, with no engine behind them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from engine.sharing import leader as leading
from engine.sharing import meeting as sharing
from engine.sharing.follower import Follower
from engine.sharing.leader import Leader
from engine.sharing.meeting import Meeting, Place

ADDRESSES = [{"input_address": f"in-{number}", "output_address": f"out-{number}"} for number in range(3)]
SOON_S = 5.0


@pytest.fixture
def meeting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Meeting]:
    monkeypatch.setattr(sharing, "REPORT_EVERY_S", 0.01)
    with Meeting.at(tmp_path / "engine") as made:
        yield made


class Offer:
    """A leader, and what became of its engine."""

    def __init__(self, meeting: Meeting) -> None:
        self.kills = 0
        self.own_steps = 0
        self.leader = Leader(Place(0, 3, meeting, 1.0), ADDRESSES, self._steps, self._kill)

    def _steps(self) -> list[int]:
        return [self.own_steps + self.leader.steps_of(0), self.leader.steps_of(1)]

    def _kill(self) -> None:
        self.kills += 1


@asynccontextmanager
async def joined(meeting: Meeting) -> AsyncIterator[tuple[Offer, Follower, Follower]]:
    offer = Offer(meeting)
    one, other = await asyncio.gather(*(Follower.join(Place(number, 3, meeting, 1.0)) for number in (1, 2)))
    await until(lambda: len(offer.leader.present) == 2)
    try:
        yield offer, one, other
    finally:
        await one.leave()
        await other.leave()
        await offer.leader.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not condition():  # noqa: ASYNC110  # what is waited for is another task's variable
            await asyncio.sleep(0.005)


async def test_each_follower_gets_its_own_addresses_and_the_leader_waits_for_all(meeting: Meeting) -> None:
    async with joined(meeting) as (offer, one, other):
        assert (one.addresses, other.addresses) == (ADDRESSES[1], ADDRESSES[2])
        waiting = asyncio.create_task(offer.leader.wait_joined())
        one.ready(lambda: (0, 0))
        done, _ = await asyncio.wait({waiting}, timeout=0.1)
        assert not done, "the second follower is not ready yet"
        other.ready(lambda: (0, 0))
        await asyncio.wait_for(waiting, SOON_S)


async def test_a_follower_that_comes_first_waits_for_the_engine(meeting: Meeting) -> None:
    joining = asyncio.create_task(Follower.join(Place(1, 3, meeting, 1.0)))
    done, _ = await asyncio.wait({joining}, timeout=0.1)
    assert not done
    offer = Offer(meeting)
    follower = await asyncio.wait_for(joining, SOON_S)
    assert follower.addresses == ADDRESSES[1]
    await follower.leave()
    await offer.leader.close()


async def test_what_one_has_seen_of_the_engines_steps_all_hear_of(meeting: Meeting) -> None:
    async with joined(meeting) as (offer, one, other):
        seen = [0, 0]
        one.ready(lambda: seen)
        other.ready(lambda: (0, 0))
        seen[:] = 7, 2
        await until(lambda: offer.leader.steps_of(0) == 7)
        await until(lambda: (other.steps_of(0), other.steps_of(1)) == (7, 2))
        offer.own_steps = 5
        await until(lambda: (other.steps_of(0), other.steps_of(1)) == (12, 2))


async def test_a_follower_may_end_a_hung_engine(meeting: Meeting) -> None:
    async with joined(meeting) as (offer, one, _):
        one.kill()
        await until(lambda: offer.kills == 1)


async def test_a_follower_that_leaves_takes_nothing_with_it(meeting: Meeting) -> None:
    async with joined(meeting) as (offer, one, _):
        await one.leave()
        await until(lambda: 1 not in offer.leader.present)
        assert offer.kills == 0


async def test_a_follower_that_vanishes_takes_the_engine_with_it(meeting: Meeting) -> None:
    async with joined(meeting) as (offer, one, _):
        one._writer.close()
        await until(lambda: offer.kills == 1)


async def test_without_the_leaders_engine_the_followers_have_none(meeting: Meeting) -> None:
    async with joined(meeting) as (offer, one, other):
        work = asyncio.create_task(other.while_there(asyncio.sleep(60)))
        await asyncio.sleep(0)
        await offer.leader.close()
        await asyncio.wait_for(one.wait_gone(), SOON_S)
        with pytest.raises(RuntimeError, match="died"):
            await asyncio.wait_for(work, SOON_S)
        assert offer.kills == 0, "it was taken back, not lost"


async def test_the_leader_waits_for_followers_that_are_about_to_leave(meeting: Meeting) -> None:
    async with joined(meeting) as (offer, one, other):
        closing = asyncio.create_task(offer.leader.close(wait_s=SOON_S))
        await one.leave()
        done, _ = await asyncio.wait({closing}, timeout=0.1)
        assert not done
        await other.leave()
        await asyncio.wait_for(closing, SOON_S)


async def test_one_that_died_before_there_was_an_engine_takes_none_with_it(meeting: Meeting) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.connect(str(meeting.path))
        dead.send(b"1\n")
    async with joined(meeting) as (offer, one, other):
        waiting = asyncio.create_task(offer.leader.wait_joined())
        one.ready(lambda: (0, 0))
        other.ready(lambda: (0, 0))
        await asyncio.wait_for(waiting, SOON_S)
        assert offer.kills == 0


async def test_one_that_comes_again_gets_another_engine(meeting: Meeting) -> None:
    async with joined(meeting) as (offer, one, _):
        await one.leave()
        again = await Follower.join(Place(1, 3, meeting, 1.0))
        await until(lambda: offer.kills == 1)
        await again.leave()


async def test_a_close_that_is_cancelled_closes_all_the_same(meeting: Meeting) -> None:
    async with joined(meeting) as (offer, one, _):
        closing = asyncio.create_task(offer.leader.close(wait_s=60))
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait_for(one.wait_gone(), SOON_S)
        assert offer.kills == 0


async def test_the_leader_does_not_wait_for_ever_for_one_that_does_not_join(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leading, "JOIN_TIMEOUT_S", 0.05)
    async with joined(meeting) as (offer, _, _):
        with pytest.raises(TimeoutError):
            await offer.leader.wait_joined()
