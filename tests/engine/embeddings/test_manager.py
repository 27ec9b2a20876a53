"""The life of the embedder, and whom it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from engine.api import EngineStartError
from engine.embeddings.api import Job
from engine.embeddings.manager import Embedder
from engine.supervisor import EngineState
from engine.watchdog import WatchdogLimits
from protocol.errors import Fault, TwowireError
from tests.engine.embeddings.fake_embedder import FakeEmbedderFactory, fake_embedder, until

LIMIT_S = 5


@pytest.fixture
async def factory() -> FakeEmbedderFactory:
    return FakeEmbedderFactory()


@pytest.fixture
async def embedder(factory: FakeEmbedderFactory) -> AsyncIterator[Embedder]:
    embedder = fake_embedder(factory)
    embedder.start()
    await embedder.wait_settled()
    yield embedder
    await embedder.stop()


async def refusal(embedder: Embedder, job: Job, client: str = "a") -> TwowireError:
    with pytest.raises(TwowireError) as caught:
        await embedder.run(job, client)
    return caught.value


async def test_it_starts_only_after_what_it_is_to_wait_for(factory: FakeEmbedderFactory) -> None:
    before = asyncio.Event()

    async def wait() -> None:
        await before.wait()

    embedder = fake_embedder(factory)
    embedder.start(after=wait)
    await asyncio.sleep(0)
    assert not factory.backends
    error = await refusal(embedder, Job("small", ["x"]))
    assert (error.fault, error.retry_after_s) == (Fault.ENGINE_NOT_READY, 5)
    before.set()
    await embedder.wait_settled()
    assert embedder.is_ready
    await embedder.stop()
    assert factory.backends[0].closed
    assert embedder.state is EngineState.STOPPED


async def test_a_job_is_done_and_leaves_nothing(embedder: Embedder) -> None:
    done = await embedder.run(Job("small", ["a", "bb"]), "client")
    assert (done.pieces, done.tokens, embedder.texts) == ([b"[1.0]", b"[2.0]"], 6, 0)


@pytest.mark.parametrize("error", [EngineStartError("no such model"), RuntimeError("it broke")])
async def test_a_first_start_that_fails_is_final_and_tells_why(factory: FakeEmbedderFactory, error: Exception) -> None:
    factory.error = error
    embedder = fake_embedder(factory)
    embedder.start()
    await embedder.wait_settled()
    assert embedder.state is EngineState.FAILED
    refused = await refusal(embedder, Job("small", ["x"]))
    assert refused.fault is Fault.ENGINE_NOT_READY
    assert str(error) in refused.message
    await embedder.stop()


async def test_one_that_dies_is_replaced(embedder: Embedder, factory: FakeEmbedderFactory) -> None:
    factory.may_start.clear()
    factory.backends[0].die("killed")
    await until(lambda: embedder.supervisor.restarts == 1)
    assert (await refusal(embedder, Job("small", ["x"]))).fault is Fault.ENGINE_NOT_READY
    assert factory.backends[0].closed
    factory.may_start.set()
    await until(lambda: embedder.is_ready)
    assert (await embedder.run(Job("small", ["x"]), "a")).tokens == 3


async def test_a_client_that_leaves_ends_its_job(embedder: Embedder, factory: FakeEmbedderFactory) -> None:
    backend = factory.backends[0]
    backend.go.clear()
    running = asyncio.create_task(embedder.run(Job("small", ["x"] * 3), "a"))
    await backend.begun.wait()
    assert embedder.texts == 3
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await until(lambda: backend.left == 1)
    assert embedder.texts == 0


async def test_the_queue_is_bounded_and_one_client_may_have_half_of_it(
    embedder: Embedder, factory: FakeEmbedderFactory
) -> None:
    factory.backends[0].go.clear()
    running = [asyncio.create_task(embedder.run(Job("small", ["x"] * 5), "a")) for _ in range(2)]
    await until(lambda: embedder.texts == 10)
    error = await refusal(embedder, Job("small", ["x"]), "a")
    assert (error.fault, error.retry_after_s) == (Fault.QUEUE_FULL, 1)
    running.append(asyncio.create_task(embedder.run(Job("small", ["x"] * 10), "b")))
    await until(lambda: embedder.texts == 20)
    assert (await refusal(embedder, Job("small", ["x"]), "c")).fault is Fault.QUEUE_FULL
    factory.backends[0].go.set()
    await asyncio.gather(*running)
    assert embedder.texts == 0
    assert (await embedder.run(Job("small", ["x"]), "a")).tokens == 3


async def test_more_than_could_ever_be_taken_is_a_400(embedder: Embedder) -> None:
    error = await refusal(embedder, Job("small", ["x"] * 11))
    assert (error.fault, error.param) == (Fault.INVALID_VALUE, "input")
    assert "10" in error.message
    error = await refusal(embedder, Job("rank", ["x"] * 11, query="q"))
    assert error.param == "documents"


async def test_the_characters_that_wait_are_bounded(
    embedder: Embedder, factory: FakeEmbedderFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.embeddings.manager.MAX_WAITING_CHARS", 100)
    factory.backends[0].go.clear()
    running = asyncio.create_task(embedder.run(Job("small", ["x" * 200]), "a"))
    await until(lambda: embedder.texts == 1)
    assert (await refusal(embedder, Job("small", ["x"]), "b")).fault is Fault.QUEUE_FULL
    factory.backends[0].go.set()
    await running


async def test_a_stop_lets_jobs_finish(embedder: Embedder, factory: FakeEmbedderFactory) -> None:
    factory.backends[0].go.clear()
    running = asyncio.create_task(embedder.run(Job("small", ["x"]), "a"))
    await factory.backends[0].begun.wait()
    stopping = asyncio.create_task(embedder.stop(LIMIT_S))
    await until(lambda: embedder.state is EngineState.DRAINING)
    assert (await refusal(embedder, Job("small", ["x"]))).fault is Fault.DRAINING
    factory.backends[0].go.set()
    assert (await running).tokens == 3
    await stopping
    assert factory.backends[0].closed


async def test_a_stop_ends_what_does_not_finish(embedder: Embedder, factory: FakeEmbedderFactory) -> None:
    factory.backends[0].go.clear()
    running = asyncio.create_task(embedder.run(Job("small", ["x"]), "a"))
    await factory.backends[0].begun.wait()
    await embedder.stop(0)
    with pytest.raises(TwowireError) as caught:
        await running
    assert caught.value.fault is Fault.DRAINING


BAD_JOBS: list[tuple[Job, str, str]] = [
    (Job("small", ["x"], prompt_name="nothing"), "prompt_name", "it has: query"),
    (Job("small", ["x"], dimensions=5), "dimensions", "at most 4"),
    (Job("small", ["x"], dimensions=2), "dimensions", "not trained"),
    (Job("nested", ["x"], dimensions=1), "dimensions", "one of 2, 3"),
    (Job("small", [[1, 5, 2, 3], [100]]), "input[1]", "100"),
    (Job("small", [[5, 10**9]], is_list=False), "input", "check_embedding_ctx_length"),
    # Their own tokenizer's or not: nothing shows it.
    (Job("small", [[1, 5, 2, 3], [5]]), "input[1]", "check_embedding_ctx_length"),
    (Job("small", [[1, 5, 3]], is_list=False), "input", "--embedding-token-ids allow"),
    (Job("small", [[5, 2, 3]]), "input[0]", "tiktoken"),
    (Job("small", [[1, 2]]), "input[0]", "tiktoken"),
    (Job("nested", [[1, 5, 2, 3]]), "input[0]", "tiktoken"),
]


@pytest.mark.parametrize(("job", "param", "words"), BAD_JOBS)
async def test_what_a_model_cannot_do_is_refused(embedder: Embedder, job: Job, param: str, words: str) -> None:
    error = await refusal(embedder, job)
    assert (error.fault, error.param) == (Fault.INVALID_VALUE, param)
    assert words in error.message


@pytest.mark.parametrize(
    "job",
    [
        Job("small", ["x"], dimensions=4),
        Job("nested", ["x"], dimensions=2),
        Job("any", ["x"], dimensions=1),
        Job("small", ["x"], prompt_name="query"),
        Job("small", [[1, 99, 2, 3]]),
    ],
)
async def test_what_a_model_can_do_is_done(embedder: Embedder, job: Job) -> None:
    assert (await embedder.run(job, "a")).tokens == 3


async def test_a_server_may_be_told_to_take_any_ids() -> None:
    embedder = fake_embedder(FakeEmbedderFactory(), takes_any_ids=True)
    embedder.start()
    await embedder.wait_settled()
    assert (await embedder.run(Job("small", [[5], [99]]), "a")).tokens == 6
    assert (await refusal(embedder, Job("small", [[100]]))).fault is Fault.INVALID_VALUE
    await embedder.stop()


async def test_one_that_hangs_is_ended_and_replaced() -> None:
    factory = FakeEmbedderFactory()
    embedder = fake_embedder(factory, watchdog=WatchdogLimits(heartbeat_interval_s=0.04, stall_timeout_s=0.08))
    embedder.start()
    await embedder.wait_settled()
    await until(lambda: embedder.supervisor.watchdog.heartbeats > 0)
    factory.backends[0].beats_are_answered = False
    await until(lambda: len(factory.backends) == 2 and embedder.is_ready)
    assert factory.backends[0].killed
    assert factory.backends[0].closed
    assert (embedder.supervisor.watchdog.hangs, embedder.supervisor.restarts) == (1, 1)
    await embedder.stop()
