"""Both ends of the embedder's socket, with a model that only counts: the server's, and the process's in two threads."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs

from engine.embeddings.api import Job, ModelCard
from engine.embeddings.cpu_shares import Processors
from engine.embeddings.process import SLICES_AHEAD, EmbedderProcess
from engine.embeddings.running_job import SLICE_CHARS, SLICE_TEXTS
from engine.embeddings.worker import Worker
from protocol.errors import Fault, TwowireError
from tests.engine.embeddings.fake_embedder import until

LIMIT_S = 10
LANES = 2
CARD = ModelCard("embedding", dimensions=1, max_tokens=100)


NO_NUMBER = 97
"""A text of so many characters has no vector."""


@dataclass
class Tokens:
    ids: list[int]
    prompt: int = 0
    is_too_long: bool = False


@dataclass
class CountingModel:
    """A text's tokens are its characters; its vector is their number. Computes only while `may_compute` is set."""

    card: ModelCard = CARD
    now: int = 0
    most: int = 0
    """How many batches were computed at a time."""
    taken: int = 0
    """How many texts have come to it."""
    computed: int = 0
    batches: list[int] = field(default_factory=list)
    used: list[int] = field(default_factory=list)
    counting: threading.Lock = field(default_factory=threading.Lock)
    failure: Exception | None = None
    may_compute: threading.Event = field(default_factory=threading.Event)

    def tokens(self, texts: Sequence[str | list[int]], wanted: Any) -> list[Tokens]:
        self.taken += len(texts)
        return [Tokens([0] * len(text), is_too_long=len(text) > 100 and not wanted["truncate"]) for text in texts]

    def compute(self, tokens: Sequence[Tokens], wanted: Sequence[Any]) -> list[bytes]:
        with self.counting:
            self.now += 1
            self.most = max(self.most, self.now)
        self.may_compute.wait(LIMIT_S)
        if self.failure is not None:
            raise self.failure
        with self.counting:
            self.now -= 1
            self.computed += len(tokens)
            self.batches.append(len(tokens))
        return [str(len(one.ids)).encode() if len(one.ids) != NO_NUMBER else b"" for one in tokens]


@pytest.fixture
async def model() -> CountingModel:
    model = CountingModel()
    model.may_compute.set()
    return model


def stand_in() -> subprocess.Popen[bytes]:
    """Something that ends when it is told to, in place of the process."""
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


class WatchedWorker(Worker):
    """Remembers which lanes were busy whenever it sent something."""

    busy_at: list[set[int]]

    def send(self, header: dict[str, Any], parts: list[bytes] | None = None) -> None:
        with self._changed:
            self.busy_at.append(set(self._busy))
        super().send(header, parts)


@pytest.fixture
async def busy_at() -> list[set[int]]:
    """Of each message of the process: the lanes that were busy then."""
    return []


@pytest.fixture
async def process(model: CountingModel, busy_at: list[set[int]]) -> AsyncIterator[EmbedderProcess]:
    ours, theirs = socket.socketpair()
    worker = WatchedWorker(theirs, {"m": model}, 1024, dict, Processors(4, LANES, model.used.append))
    worker.busy_at = busy_at
    threading.Thread(target=worker.read, daemon=True).start()
    for lane in range(LANES):
        threading.Thread(target=worker.compute, args=(lane,), daemon=True).start()
    reader, writer = await asyncio.open_connection(sock=ours)
    child = stand_in()
    process = EmbedderProcess(child, reader, writer, {"m": CARD})
    yield process
    assert child.stdin is not None
    child.stdin.close()
    await process.close()
    theirs.close()


async def test_a_long_list_comes_back_in_its_order(process: EmbedderProcess, model: CountingModel) -> None:
    texts = ["x" * (1 + number * 7 % 50) for number in range(1000)]
    done = await process.run(Job("m", texts), "client")
    assert done.pieces == [str(len(text)).encode() for text in texts]
    assert done.tokens == sum(map(len, texts))
    assert model.computed == 1000


async def test_requests_that_wait_are_computed_together(process: EmbedderProcess, model: CountingModel) -> None:
    model.may_compute.clear()
    runs = [asyncio.create_task(process.run(Job("m", ["x" * 10]), "client")) for _ in range(30)]
    await until(lambda: model.taken == 30)
    model.may_compute.set()
    await asyncio.gather(*runs)
    assert len(model.batches) < 10


async def test_a_batch_has_all_processors_only_while_it_is_alone(
    process: EmbedderProcess, model: CountingModel
) -> None:
    model.may_compute.clear()
    runs = []
    for number in (1, 2):
        runs.append(asyncio.create_task(process.run(Job("m", ["x"]), "client")))
        await until(lambda number=number: len(model.used) == number)  # type: ignore[misc]
    model.may_compute.set()
    await asyncio.gather(*runs)
    assert model.used == [4, 2]
    await process.run(Job("m", ["x"]), "client")
    assert model.used == [4, 2, 4]


async def test_a_lane_is_free_before_its_answer_is_sent(
    process: EmbedderProcess, model: CountingModel, busy_at: list[set[int]]
) -> None:
    await process.run(Job("m", ["x"]), "client")
    model.failure = ValueError()
    with pytest.raises(TwowireError):
        await process.run(Job("m", ["x"]), "client")
    assert busy_at == [set(), set()]


async def test_one_batch_is_computed_at_a_time_while_chats_run(process: EmbedderProcess, model: CountingModel) -> None:
    process.has_machine = lambda: False
    model.may_compute.clear()
    # Each too large for the other's batch.
    runs = [asyncio.create_task(process.run(Job("m", ["x" * 100] * 10), "client")) for _ in range(2)]
    await until(lambda: model.taken == 20 and len(model.used) == 1)
    model.may_compute.set()
    await asyncio.gather(*runs)
    assert model.most == 1
    assert set(model.used) == {4}


async def test_a_huge_request_is_sent_a_little_at_a_time(process: EmbedderProcess, model: CountingModel) -> None:
    model.may_compute.clear()
    run = asyncio.create_task(process.run(Job("m", ["x"] * 5000), "client"))
    await until(lambda: bool(process._slices))
    assert len(process._slices) == SLICES_AHEAD
    large = asyncio.create_task(process.run(Job("m", ["x" * SLICE_CHARS] * 10, truncate=True), "client"))
    await until(lambda: len(process._slices) > SLICES_AHEAD)
    assert len(process._slices) == 2 * SLICES_AHEAD
    model.may_compute.set()
    await asyncio.gather(run, large)
    assert not process._slices


async def test_the_text_that_is_too_long_is_named(process: EmbedderProcess) -> None:
    place = 3 * SLICE_TEXTS + 5
    texts = ["x"] * place + ["x" * 101] + ["x"] * 100
    with pytest.raises(TwowireError, match="101 tokens or more; the model reads 100") as caught:
        await process.run(Job("m", texts), "client")
    assert (caught.value.fault, caught.value.param) == (Fault.CONTEXT_LENGTH_EXCEEDED, f"input[{place}]")
    with pytest.raises(TwowireError) as caught:
        await process.run(Job("m", ["x" * 101], is_list=False), "client")
    assert caught.value.param == "input"
    with pytest.raises(TwowireError) as caught:
        await process.run(Job("m", ["x" * 101], query="q"), "client")
    assert caught.value.param == "documents[0]"
    assert not process._slices


async def test_what_breaks_is_an_error_of_its_own_and_quotes_nothing(
    process: EmbedderProcess, model: CountingModel
) -> None:
    model.failure = ValueError("cannot compute 'a secret'")
    with capture_logs() as lines, pytest.raises(TwowireError) as caught:
        await process.run(Job("m", ["a secret"]), "client")
    assert caught.value.fault is Fault.INTERNAL
    assert "ValueError" in str(lines)
    assert "secret" not in str(lines)
    model.failure = None
    assert (await process.run(Job("m", ["x"]), "client")).tokens == 1


async def test_a_text_without_numbers_harms_no_other(process: EmbedderProcess, model: CountingModel) -> None:
    model.may_compute.clear()
    lengths = [10, NO_NUMBER, 11, NO_NUMBER, 12] * 4
    runs = [asyncio.create_task(process.run(Job("m", ["x" * length]), "client")) for length in lengths]
    await until(lambda: model.taken == len(lengths))
    model.may_compute.set()
    for length, answer in zip(lengths, await asyncio.gather(*runs, return_exceptions=True), strict=True):
        if length == NO_NUMBER:
            assert isinstance(answer, TwowireError)
            assert answer.fault is Fault.INTERNAL
        else:
            assert not isinstance(answer, BaseException)
            assert answer.pieces == [str(length).encode()]
    assert max(model.batches) > 1


async def test_a_client_that_leaves_ends_what_was_not_computed(process: EmbedderProcess, model: CountingModel) -> None:
    model.may_compute.clear()
    run = asyncio.create_task(process.run(Job("m", ["x" * 100] * 5000), "client"))
    await until(lambda: bool(process._slices))
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    assert not process._slices
    model.may_compute.set()
    # Comes after everything that is left.
    assert (await process.run(Job("m", ["x"]), "client")).pieces == [b"1"]
    assert model.computed <= SLICES_AHEAD * SLICE_TEXTS + 1


async def test_the_end_of_the_process_ends_every_request(process: EmbedderProcess, model: CountingModel) -> None:
    model.may_compute.clear()
    runs = [asyncio.create_task(process.run(Job("m", ["x"]), "client")) for _ in range(3)]
    await until(lambda: len(process._slices) == 3)
    process._reader.feed_eof()
    for result in await asyncio.gather(*runs, return_exceptions=True):
        assert isinstance(result, TwowireError)
        assert (result.fault, result.retry_after_s) == (Fault.ENGINE_DIED, 5)
    assert "ended" in await process.wait_dead()
    with pytest.raises(TwowireError) as caught:
        await process.run(Job("m", ["x"]), "client")
    assert caught.value.fault is Fault.ENGINE_DIED
    model.may_compute.set()
