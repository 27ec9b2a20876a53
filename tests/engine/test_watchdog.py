"""A hung engine is ended and replaced; one that works, however long it makes no token, is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from engine.admission.admission import AdmissionLimits
from engine.api import Prepared, PreparedPrompt
from engine.manager import EngineManager
from engine.watchdog import EngineWatchdog, WatchdogLimits
from protocol.errors import Fault, TwowireError
from tests.engine.fakes import FakeEngine, FakeFactory

LIMIT_S = 10
SHORT = WatchdogLimits(heartbeat_interval_s=0.04, stall_timeout_s=0.08)
NO_BEATS = WatchdogLimits(heartbeat_interval_s=0, stall_timeout_s=0.08)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event of its own
            await asyncio.sleep(0.005)


class CountedEngine(FakeEngine):
    """Knows how often it was looked at; takes a step between any two looks if it `works`."""

    def __init__(self, *, works: bool = False) -> None:
        super().__init__()
        self.looks = 0
        self._works = works
        self._steps = 0

    @property
    def steps_taken(self) -> int:
        self.looks += 1
        self._steps += self._works
        return self._steps

    @steps_taken.setter
    def steps_taken(self, value: int) -> None:
        self._steps = value


async def gone(engine: FakeEngine, limits: WatchdogLimits) -> str:
    async with asyncio.timeout(LIMIT_S):
        return await EngineWatchdog(limits).wait_gone(engine)


async def test_an_engine_with_work_that_takes_no_step_is_ended() -> None:
    engine = FakeEngine()
    engine.is_busy = True
    assert "no step for 0.08 s" in await gone(engine, NO_BEATS)
    assert engine.killed


async def test_an_idle_engine_that_gives_no_heartbeat_is_ended() -> None:
    engine = FakeEngine()
    engine.beats_are_answered = False
    assert "no step" in await gone(engine, SHORT)
    assert engine.killed
    assert engine.beats == 1


async def test_steps_without_a_token_keep_it_alive() -> None:
    # What a long prompt looks like: much longer than the stall's time, and no stream has got a token.
    engine = CountedEngine(works=True)
    engine.is_busy = True
    watching = asyncio.create_task(gone(engine, NO_BEATS))
    await until(lambda: engine.looks > 100)
    assert not watching.done()
    engine.die("it was told to")
    assert await watching == "it was told to"
    assert not engine.killed


async def test_an_idle_engine_is_asked_again_and_again() -> None:
    engine, watchdog = FakeEngine(), EngineWatchdog(SHORT)
    watching = asyncio.create_task(watchdog.wait_gone(engine))
    await until(lambda: watchdog.heartbeats >= 3)
    assert (engine.killed, watchdog.hangs) == (False, 0)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_without_heartbeats_an_idle_engine_is_left_alone() -> None:
    engine = CountedEngine()
    watching = asyncio.create_task(gone(engine, NO_BEATS))
    await until(lambda: engine.looks > 100)
    assert (engine.beats, engine.killed) == (0, False)
    engine.die("over")
    await watching


async def test_without_a_time_nothing_is_watched() -> None:
    engine = CountedEngine()
    engine.is_busy = True
    watching = asyncio.create_task(gone(engine, WatchdogLimits(0.01, 0)))
    await asyncio.sleep(0)
    engine.die("over")
    assert await watching == "over"
    assert engine.looks == 0


async def test_time_in_which_the_server_itself_stood_still_is_not_counted() -> None:
    now = 1000.0

    def clock() -> float:
        nonlocal now
        now += 3600.0  # An hour between any two looks.
        return now

    engine, watchdog = CountedEngine(works=True), EngineWatchdog(WatchdogLimits(0, 0.4), clock)
    engine.is_busy = True
    watching = asyncio.create_task(watchdog.wait_gone(engine))
    await until(lambda: engine.looks > 4)
    engine._works = False
    looks = engine.looks
    await until(watching.done)
    # Two reads a look, and no look counts for more than a quarter of the time.
    assert engine.looks - looks >= 6
    assert engine.killed


async def test_a_heartbeat_that_is_refused_is_no_hang() -> None:
    class Refusing(FakeEngine):
        async def heartbeat(self) -> None:
            self.beats += 1
            raise TwowireError(Fault.INTERNAL, "not now")

    engine = Refusing()
    watching = asyncio.create_task(gone(engine, SHORT))
    await until(lambda: engine.beats >= 3)
    assert not engine.killed
    engine.die("over")
    await watching


@pytest.mark.parametrize("is_busy", [True, False], ids=["busy", "idle"])
async def test_the_manager_replaces_an_engine_that_hangs(is_busy: bool) -> None:
    factory = FakeFactory(ends=False)
    manager = EngineManager(factory, AdmissionLimits(4, 4), backoff_first_s=0.01, watchdog=SHORT)
    manager.start()
    await manager.wait_settled()
    prepared = Prepared((PreparedPrompt(3, object(), object()),), 3)
    generation = await manager.run(prepared)
    factory.engines[0].is_busy = is_busy
    factory.engines[0].beats_are_answered = False

    async def read() -> None:
        async with asyncio.timeout(LIMIT_S), generation:
            while await anext(generation, None) is not None:
                pass

    with pytest.raises(TwowireError) as failure:
        await read()
    assert failure.value.fault is Fault.ENGINE_DIED
    await until(lambda: len(factory.engines) >= 2 and manager.is_ready)
    assert manager.supervisor.watchdog.hangs == 1
    assert factory.engines[0].closed
    await manager.stop()


class FakeRank:
    """One rank; takes a step between any two looks if it `works`."""

    def __init__(self, *, works: bool, is_busy: bool) -> None:
        self.beats = 0
        self.is_busy = is_busy
        self._works = works
        self._steps = 0

    @property
    def steps_taken(self) -> int:
        self._steps += self._works
        return self._steps

    async def heartbeat(self) -> None:
        self.beats += 1
        await asyncio.Event().wait()


class RankedEngine(FakeEngine):
    def __init__(self, *ranks: FakeRank) -> None:
        super().__init__()
        self.ranks = ranks


async def test_a_busy_rank_that_hangs_is_found_while_its_neighbour_works() -> None:
    engine = RankedEngine(FakeRank(works=True, is_busy=True), FakeRank(works=False, is_busy=True))
    assert await gone(engine, NO_BEATS) == "its rank 1 took no step for 0.08 s, though it had work"
    assert engine.killed


async def test_an_idle_rank_is_asked_for_a_heartbeat_of_its_own() -> None:
    idle = FakeRank(works=False, is_busy=False)
    engine = RankedEngine(idle, FakeRank(works=True, is_busy=True))
    assert "its rank 0 took no step" in await gone(engine, SHORT)
    assert idle.beats == 1
    assert engine.beats == 0
