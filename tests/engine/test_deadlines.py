"""Deadlines: of preparing, of the first token, of the whole. On fake streams; the times are short or long past."""

from __future__ import annotations

import asyncio
import time

import pytest

from engine.admission.admission import AdmissionLimits
from engine.api import Prepared, PreparedPrompt
from engine.deadlines import Deadlines
from engine.generation import Generation
from engine.manager import EngineManager
from protocol.errors import Fault, TwowireError
from protocol.output import Delta
from tests.engine.fakes import FakeFactory, FakeStream, words

LONG_S = 86_400.0
PREPARED = Prepared((PreparedPrompt(3, object(), object()),), 3)


async def ready_manager(factory: FakeFactory) -> EngineManager:
    manager = EngineManager(factory, AdmissionLimits(2, 0))
    manager.start()
    await manager.wait_settled()
    return manager


async def fault_of(generation: Generation) -> tuple[str, Fault]:
    """The text that came, and what came after it."""
    text = ""
    try:
        async with asyncio.timeout(5):
            async for step in generation:
                text += "".join(delta.text for delta in step)
    except TwowireError as error:
        return text, error.fault
    pytest.fail("it ended without an error")


@pytest.mark.parametrize(
    ("deadlines", "fault"),
    [
        (Deadlines(first_token_s=0.02), Fault.FIRST_TOKEN_TIMEOUT),
        (Deadlines(request_s=0.02), Fault.DEADLINE_EXCEEDED),
        (Deadlines(first_token_s=0.02, request_s=LONG_S), Fault.FIRST_TOKEN_TIMEOUT),
        (Deadlines(first_token_s=LONG_S, request_s=0.02), Fault.DEADLINE_EXCEEDED),
    ],
)
async def test_a_deadline_ends_the_generation_in_the_engine(deadlines: Deadlines, fault: Fault) -> None:
    factory = FakeFactory(ends=False)
    manager = await ready_manager(factory)
    neighbour = await manager.run(PREPARED)
    generation = await manager.run(PREPARED, deadlines=deadlines)
    assert await fault_of(generation) == ("", fault)
    stream, others = factory.engines[0].opened[1], factory.engines[0].opened[0]
    assert stream.cancelled
    assert not others.cancelled
    assert generation.outcome == "failed"
    assert generation.error is not None
    assert generation.error.fault is fault
    assert manager.sequences == 1
    await neighbour.close()
    await manager.stop()


async def test_the_place_is_given_back_although_nobody_reads() -> None:
    factory = FakeFactory(ends=False)
    manager = await ready_manager(factory)
    generation = await manager.run(PREPARED, deadlines=Deadlines(request_s=0.01))
    async with asyncio.timeout(5):
        while manager.sequences:  # noqa: ASYNC110  # a place has no event of its own
            await asyncio.sleep(0)
    assert factory.engines[0].opened[0].cancelled
    await generation.close()
    assert generation.outcome == "failed"
    await manager.stop()


async def test_what_was_made_until_then_comes_first() -> None:
    factory = FakeFactory(ends=False)
    manager = await ready_manager(factory)
    generation = await manager.run(PREPARED, deadlines=Deadlines(request_s=0.05))
    factory.engines[0].opened[0].feed(Delta(0, "a", 1))
    factory.engines[0].opened[0].feed(Delta(0, "b", 1))
    assert await fault_of(generation) == ("ab", Fault.DEADLINE_EXCEEDED)
    await manager.stop()


async def test_a_first_token_is_all_that_the_first_deadline_asks_for() -> None:
    factory = FakeFactory(ends=False)
    manager = await ready_manager(factory)
    generation = await manager.run(PREPARED, deadlines=Deadlines(first_token_s=0.5, request_s=0.6))
    factory.engines[0].opened[0].feed(Delta(0, "a", 1))
    # It is the second deadline that ends it.
    assert await fault_of(generation) == ("a", Fault.DEADLINE_EXCEEDED)
    await manager.stop()


async def test_a_generation_that_ends_in_time_leaves_no_timer() -> None:
    manager = await ready_manager(FakeFactory(words("a", "b")))
    loop = asyncio.get_running_loop()
    before = len(loop._scheduled)  # type: ignore[attr-defined]  # asyncio's timers have no public list
    async with await manager.run(PREPARED, deadlines=Deadlines(LONG_S, LONG_S)) as generation:
        assert len(loop._scheduled) > before  # type: ignore[attr-defined]
        assert [step async for step in generation]
    assert not [handle for handle in loop._scheduled[before:] if not handle.cancelled()]  # type: ignore[attr-defined]
    assert generation.outcome == "completed"
    await manager.stop()


async def test_a_deadline_that_passed_while_it_was_prepared_ends_it_at_once() -> None:
    manager = await ready_manager(FakeFactory(ends=False))
    generation = await manager.run(PREPARED, deadlines=Deadlines(request_s=1.0, began_at=time.monotonic() - 2))
    assert await fault_of(generation) == ("", Fault.DEADLINE_EXCEEDED)
    await manager.stop()


async def test_a_cancel_before_the_deadline_stays_a_cancel() -> None:
    stream = FakeStream([[Delta(0, "a", 1)]])
    generation = Generation("g", PREPARED, stream, on_end=lambda generation: None)
    await generation.cancel()
    await generation.expire(TwowireError(Fault.DEADLINE_EXCEEDED, "late"))
    assert [delta.text async for step in generation for delta in step] == ["a"]
    assert generation.outcome == "cancelled"


async def test_preparing_is_limited_too_by_the_earlier_of_the_two() -> None:
    with pytest.raises(TwowireError) as late:
        async with Deadlines(first_token_s=LONG_S, request_s=0.01).limit():
            await asyncio.Event().wait()
    assert late.value.fault is Fault.DEADLINE_EXCEEDED
    with pytest.raises(TwowireError) as late:
        async with Deadlines(first_token_s=0.01, request_s=LONG_S).limit():
            await asyncio.Event().wait()
    assert late.value.fault is Fault.FIRST_TOKEN_TIMEOUT


async def test_a_foreign_timeout_is_not_taken_for_a_deadline() -> None:
    for deadlines in (Deadlines(), Deadlines(LONG_S, LONG_S)):
        with pytest.raises(TimeoutError):
            async with deadlines.limit():
                raise TimeoutError
