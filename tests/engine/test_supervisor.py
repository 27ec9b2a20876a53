"""The supervisor: first start, restarts, backoff, drain, log. On fake engines; the backoff is short or never ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog

from engine import supervisor as module
from engine.api import EngineStartError, FollowerLostError, Progress, StageReport
from engine.supervisor import EngineState, Supervisor
from engine.watchdog import WatchdogLimits
from tests.engine.fakes import FakeEngine, FakeFactory
from tests.engine.test_manager import until

SHORT_S = 0.001
NEVER_S = 3600.0


@asynccontextmanager
async def supervised(
    factory: FakeFactory, backoff_first_s: float = SHORT_S, **options: Any
) -> AsyncIterator[Supervisor[FakeEngine]]:
    """A supervisor that runs. Fails the test if an engine is open or a task is left when it has stopped."""
    before = asyncio.all_tasks()
    supervisor = Supervisor("engine", factory, backoff_first_s=backoff_first_s, **options)
    supervisor.run()
    yield supervisor
    await supervisor.stop()
    assert all(engine.closed for engine in factory.engines)
    assert supervisor.engine is None
    assert asyncio.all_tasks() == before


async def test_it_goes_from_starting_to_ready_to_stopped() -> None:
    factory = FakeFactory()
    factory.started.clear()
    async with supervised(factory) as supervisor:
        await until(lambda: supervisor.reason == "loading the fake")
        assert (supervisor.state, supervisor.engine) == (EngineState.STARTING, None)
        seen = [supervisor.progress]
        factory.started.set()
        await supervisor.wait_settled()
        assert (supervisor.is_ready, supervisor.engine) == (True, factory.engines[0])
        assert [*seen, supervisor.progress] == [Progress(1, 2, "files"), None]
    assert (supervisor.state, supervisor.restarts) == (EngineState.STOPPED, 0)


async def test_progress_within_a_stage_is_kept_and_not_logged() -> None:
    async def start(report: StageReport) -> FakeEngine:
        for done in range(3):
            report("loading", Progress(done, 3, "files"))
        report("warming up")
        seen.append((supervisor.reason, supervisor.progress))
        return FakeEngine([])

    seen: list[object] = []
    supervisor = Supervisor("engine", start)
    with structlog.testing.capture_logs() as entries:
        supervisor.run()
        await supervisor.wait_settled()
        await supervisor.stop()
    assert [entry["stage"] for entry in entries if "stage" in entry] == ["loading", "warming up"]
    assert seen == [("warming up", None)]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(EngineStartError("--model: no"), "--model: no"), (RuntimeError("no memory"), "RuntimeError: no memory")],
)
async def test_a_first_start_that_fails_is_final(error: Exception, reason: str) -> None:
    factory = FakeFactory()
    factory.error = error
    async with supervised(factory) as supervisor:
        await supervisor.wait_settled()
        assert (supervisor.state, supervisor.reason) == (EngineState.FAILED, reason)
        supervisor.begin_drain()
        assert supervisor.state is EngineState.FAILED
    assert (supervisor.state, supervisor.reason, supervisor.restarts) == (EngineState.FAILED, reason, 0)


async def test_a_first_start_that_loses_a_follower_is_retried() -> None:
    factory = FakeFactory()
    factory.error = FollowerLostError("rank 1 is gone")
    async with supervised(factory) as supervisor:
        await until(lambda: supervisor.restarts == 2)
        assert "rank 1 is gone" in supervisor.reason
        factory.error = None
        await until(lambda: supervisor.is_ready)


async def test_each_engine_has_a_name_of_its_own_from_the_death_of_the_one_before() -> None:
    factory = FakeFactory()
    async with supervised(factory, backoff_first_s=NEVER_S) as supervisor:
        first = supervisor.engine_id
        await supervisor.wait_settled()
        assert supervisor.engine_id == first
        factory.engines[0].die("over")
        await until(lambda: supervisor.restarts == 1)
        second = supervisor.engine_id
    async with supervised(factory) as supervisor:
        assert len({first, second, supervisor.engine_id}) == 3


async def test_a_first_start_that_fails_is_retried_where_one_worked_before() -> None:
    factory = FakeFactory()
    factory.error = RuntimeError("no memory")
    async with supervised(factory, has_worked=True) as supervisor:
        await until(lambda: supervisor.restarts == 2)
        factory.error = None
        await supervisor.wait_settled()
        assert supervisor.is_ready


async def test_a_dead_engine_is_closed_before_the_next_one_starts() -> None:
    factory = FakeFactory()
    async with supervised(factory) as supervisor:
        await supervisor.wait_settled()
        first = factory.engines[0]
        factory.started.clear()
        first.die("killed")
        await until(lambda: supervisor.reason == "loading the fake")
        assert (first.closed, supervisor.engine, supervisor.restarts) == (True, None, 1)
        factory.started.set()
        await until(lambda: supervisor.is_ready)
        assert supervisor.engine is factory.engines[1]


async def test_the_reason_of_a_death_is_known_before_the_engine_is_closed() -> None:
    factory, closing = FakeFactory(), asyncio.Event()
    async with supervised(factory, NEVER_S) as supervisor:
        await supervisor.wait_settled()
        engine = factory.engines[0]

        async def close() -> None:
            await closing.wait()
            engine.closed = True

        engine.close = close  # type: ignore[method-assign]  # the fake's closes at once
        engine.die("killed")
        await until(lambda: not supervisor.is_ready)
        assert supervisor.state is EngineState.RESTARTING
        assert supervisor.reason == "the engine died (killed); its processes are being ended"
        closing.set()
        await until(lambda: engine.closed)
        await until(lambda: supervisor.reason == "the engine died (killed); a new one starts in 3600 s")


async def test_the_delay_doubles_up_to_its_maximum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF_MAX_S", 5 * SHORT_S)
    factory = FakeFactory()
    factory.error = RuntimeError("no memory")
    with structlog.testing.capture_logs():
        async with supervised(factory, has_worked=True) as supervisor:
            delays: list[str] = []
            while len(delays) < 5:
                await until(lambda: supervisor.restarts > len(delays) and "starts in" in supervisor.reason)
                delays.append(supervisor.reason.rsplit(" ", 2)[1])
    assert delays == ["0.001", "0.002", "0.004", "0.005", "0.005"]


async def test_the_delay_starts_afresh_after_a_healthy_life(monkeypatch: pytest.MonkeyPatch) -> None:
    factory = FakeFactory()
    factory.error = RuntimeError("no memory")
    with structlog.testing.capture_logs():
        async with supervised(factory, has_worked=True) as supervisor:
            await until(lambda: supervisor.restarts >= 2)
            factory.error = None
            await until(lambda: supervisor.is_ready)
            monkeypatch.setattr(module, "HEALTHY_AFTER_S", 0.0)
            factory.started.clear()
            factory.engines[0].die("killed")
            await until(lambda: "starts in" in supervisor.reason)
            assert "starts in 0.001 s" in supervisor.reason
            factory.started.set()
            await until(lambda: supervisor.is_ready)


async def test_a_hung_engine_is_killed_and_replaced() -> None:
    factory = FakeFactory()
    async with supervised(factory, watchdog=WatchdogLimits(0.01, 0.02)) as supervisor:
        await supervisor.wait_settled()
        factory.engines[0].beats_are_answered = False
        await until(lambda: len(factory.engines) == 2 and supervisor.is_ready)
        assert (factory.engines[0].killed, supervisor.watchdog.hangs, supervisor.restarts) == (True, 1, 1)


async def test_an_engine_that_dies_while_the_server_drains_is_not_replaced() -> None:
    factory = FakeFactory()
    async with supervised(factory) as supervisor:
        await supervisor.wait_settled()
        supervisor.begin_drain()
        factory.engines[0].die("killed")
        await until(lambda: factory.engines[0].closed)
        assert (supervisor.state, supervisor.restarts) == (EngineState.DRAINING, 0)
    assert len(factory.engines) == 1


async def test_stop_cancels_a_start() -> None:
    factory = FakeFactory()
    factory.started.clear()
    async with supervised(factory) as supervisor:
        await until(lambda: supervisor.reason == "loading the fake")
    assert (supervisor.state, factory.engines) == (EngineState.STOPPED, [])


async def logged(**options: Any) -> list[str]:
    """What the log says of an engine that starts, dies, is replaced and stopped."""
    factory = FakeFactory()
    with structlog.testing.capture_logs() as entries:
        async with supervised(factory, **options) as supervisor:
            await supervisor.wait_settled()
            factory.engines[0].die("killed")
            await until(lambda: len(factory.engines) == 2 and supervisor.is_ready)
            supervisor.begin_drain()
    return [f"{entry['event']} {entry.get('state') or entry['stage']}" for entry in entries]


async def test_every_change_of_state_is_logged_once() -> None:
    states = [f"engine_state {state}" for state in ("ready", "restarting", "ready", "draining", "stopped")]
    assert await logged(logs_start=False) == states
    starting = "engine_starting loading the fake"
    assert await logged() == [starting, *states[:2], starting, *states[2:]]


async def test_one_that_never_worked_may_end_silently() -> None:
    factory = FakeFactory()
    factory.started.clear()
    with structlog.testing.capture_logs() as entries:
        async with supervised(factory, logs_start=False) as supervisor:
            await until(lambda: supervisor.reason == "loading the fake")
            supervisor.begin_drain()
    assert entries == []
