"""The manager: its states, its admission, its end. On a fake engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from engine.admission.admission import AdmissionLimits
from engine.api import EngineStartError, Prepared
from engine.manager import EngineManager
from engine.supervisor import EngineState
from protocol.errors import Fault, TwowireError
from protocol.generation import ChatPrompt, GenerationRequest, Sampling, TextPrompt
from tests.engine.fakes import FakeFactory, words

CHAT = GenerationRequest(ChatPrompt([{"role": "user", "content": "hi"}]), Sampling())


async def until(condition: Callable[[], bool], limit_s: float = 5) -> None:
    """Let the loop turn until `condition` holds."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110  # the states have no event of their own
            await asyncio.sleep(0)


async def ready_manager(factory: FakeFactory, running: int = 4, queued: int = 4) -> EngineManager:
    manager = EngineManager(factory, AdmissionLimits(running, queued), backoff_first_s=0.01)
    manager.start()
    await manager.wait_settled()
    return manager


async def prepared(manager: EngineManager) -> Prepared:
    return await manager.prepare(CHAT)


async def test_a_generation_takes_its_place_and_gives_it_back() -> None:
    manager = await ready_manager(FakeFactory(words("a", "b")))
    generation = await manager.run(await prepared(manager))
    assert manager.sequences == 1
    async with generation:
        texts = [delta.text async for step in generation for delta in step]
    assert texts == ["a", "b"]
    assert generation.outcome == "completed"
    assert generation.usage.completion_tokens == 2
    assert manager.sequences == 0
    assert not manager.active
    await manager.stop()


async def test_it_refuses_while_the_engine_starts_and_says_what_it_does() -> None:
    factory = FakeFactory()
    factory.started.clear()
    manager = EngineManager(factory, AdmissionLimits(1, 1))
    manager.start()
    await until(lambda: manager.reason == "loading the fake")
    with pytest.raises(TwowireError) as refused:
        await prepared(manager)
    assert refused.value.fault is Fault.ENGINE_NOT_READY
    assert "loading the fake" in refused.value.message
    assert refused.value.retry_after_s is not None
    factory.started.set()
    await manager.wait_settled()
    assert manager.is_ready
    await manager.stop()


async def test_a_first_start_that_fails_is_final() -> None:
    factory = FakeFactory()
    factory.error = EngineStartError("--model: there is no folder")
    manager = EngineManager(factory, AdmissionLimits(1, 1))
    manager.start()
    await manager.wait_settled()
    assert manager.state is EngineState.FAILED
    assert manager.reason == "--model: there is no folder"
    drained = []
    manager.on_drain.append(lambda: drained.append(1))
    await manager.stop()
    await manager.stop()
    assert (manager.state, manager.reason, drained) == (EngineState.FAILED, "--model: there is no folder", [1])


async def test_a_dead_engine_is_closed_and_replaced() -> None:
    factory = FakeFactory(words("a"))
    manager = await ready_manager(factory)
    factory.engines[0].die("its process ended")
    await until(lambda: manager.state is EngineState.RESTARTING)
    assert "its process ended" in manager.reason
    await until(lambda: manager.is_ready)
    assert factory.engines[0].closed
    assert len(factory.engines) == 2
    assert manager.supervisor.restarts == 1
    async with await manager.run(await prepared(manager)) as generation:
        assert [step async for step in generation]
    await manager.stop()


async def test_a_restart_that_fails_is_tried_again() -> None:
    factory = FakeFactory(words("a"))
    manager = await ready_manager(factory)
    factory.error = RuntimeError("no memory")
    factory.engines[0].die("killed")
    await until(lambda: manager.supervisor.restarts >= 3)
    factory.error = None
    await until(lambda: manager.is_ready)
    await manager.stop()


async def test_the_queue_has_an_end() -> None:
    factory = FakeFactory(ends=False)
    manager = await ready_manager(factory, running=1, queued=1)
    ready = await prepared(manager)
    held = [await manager.run(ready), await manager.run(ready)]
    for refusing in (manager.run(ready), prepared(manager)):
        with pytest.raises(TwowireError) as refused:
            await refusing
        assert refused.value.fault is Fault.QUEUE_FULL
        assert "2" in refused.value.message
        assert refused.value.retry_after_s is not None
    await held[0].close()
    await (await manager.run(ready)).close()
    await held[1].close()
    assert manager.sequences == 0
    await manager.stop()


async def test_requests_that_arrive_together_cannot_share_the_last_place() -> None:
    manager = await ready_manager(FakeFactory(ends=False), running=1, queued=0)
    ready = await prepared(manager)
    results = await asyncio.gather(*(manager.run(ready) for _ in range(5)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, TwowireError)]
    assert len(refused) == 4
    await manager.stop()


async def test_a_request_that_could_never_fit_is_wrong_not_early() -> None:
    manager = await ready_manager(FakeFactory(), running=2, queued=2)
    many = GenerationRequest(TextPrompt(["a", "b"]), Sampling(), n=3)
    with pytest.raises(TwowireError) as refused:
        await manager.prepare(many)
    assert refused.value.fault is Fault.INVALID_VALUE
    assert refused.value.param == "prompt"
    assert "6" in refused.value.message
    assert "4" in refused.value.message
    await manager.stop()


async def test_a_refusal_by_the_engine_holds_no_place() -> None:
    factory = FakeFactory(words("a"))
    manager = await ready_manager(factory)
    ready = await prepared(manager)
    factory.engines[0].refusal = TwowireError(Fault.INVALID_VALUE, "no")
    with pytest.raises(TwowireError):
        await manager.run(ready)
    assert manager.sequences == 0
    await manager.stop()


async def test_stop_lets_generations_finish_and_refuses_new_ones() -> None:
    factory = FakeFactory(ends=False)
    manager = await ready_manager(factory)
    ready = await prepared(manager)
    generation = await manager.run(ready)
    stopping = asyncio.create_task(manager.stop(drain_timeout_s=5))
    await until(lambda: manager.state is EngineState.DRAINING)
    with pytest.raises(TwowireError) as refused:
        await manager.run(ready)
    assert refused.value.fault is Fault.DRAINING
    factory.engines[0].opened[0].end()
    assert [step async for step in generation] == []
    await stopping
    assert generation.outcome == "completed"
    assert manager.state.value == "stopped"
    assert factory.engines[0].closed


async def test_stop_ends_what_does_not_finish_in_time_and_says_why() -> None:
    factory = FakeFactory(ends=False)
    manager = await ready_manager(factory)
    generation = await manager.run(await prepared(manager))
    reading = asyncio.ensure_future(anext(generation))
    await manager.stop(drain_timeout_s=0)
    with pytest.raises(TwowireError) as ended:
        await reading
    assert ended.value.fault is Fault.DRAINING
    assert generation.outcome == "failed"
    assert factory.engines[0].opened[0].closed


async def test_many_prompts_run_as_one_generation() -> None:
    manager = await ready_manager(FakeFactory(words("x", "y")))
    request = GenerationRequest(TextPrompt(["a", "b", "c"]), Sampling())
    generation = await manager.run(await manager.prepare(request))
    assert manager.sequences == 3
    texts = {0: "", 1: "", 2: ""}
    async with generation:
        async for step in generation:
            for delta in step:
                texts[delta.index] += delta.text
    assert texts == {0: "xy", 1: "xy", 2: "xy"}
    assert generation.usage.completion_tokens == 6
    assert manager.sequences == 0
    await manager.stop()
