"""A small embedder that does what it is told, for tests of what stands around one.

Knows no model: a text's vector is its length, and the test says when it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from engine.api import StageReport
from engine.embeddings.api import Embedded, EmbedderBackend, Job, ModelCard
from engine.embeddings.manager import Embedder
from protocol.errors import TwowireError

CARDS = {
    "small": ModelCard(
        "embedding", dimensions=4, max_tokens=8, vocabulary=100, prompts=("query",), before=(1,), after=(2, 3)
    ),
    "nested": ModelCard("embedding", dimensions=4, vocabulary=100, shorter=(2, 3)),
    "any": ModelCard("embedding", dimensions=4, vocabulary=100, shorter=True),
    "rank": ModelCard("reranker", vocabulary=100),
}


class FakeBackend:
    """Answers when `go` is set. `jobs` are those that were begun, `left` those that were cancelled."""

    def __init__(self) -> None:
        self.cards = CARDS
        self.has_machine: Callable[[], bool] = lambda: True
        self.jobs: list[Job] = []
        self.clients: list[str] = []
        self.left = 0
        self.refusal: TwowireError | None = None
        self.go = asyncio.Event()
        self.go.set()
        self.begun = asyncio.Event()
        self.closed = False
        self.steps_taken = 0
        self.is_busy = False
        self.beats = 0
        self.beats_are_answered = True
        self.killed = False
        self._death: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def run(self, job: Job, client: str) -> Embedded:
        self.jobs.append(job)
        self.clients.append(client)
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        if self.refusal is not None:
            raise self.refusal
        pieces = [str(len(text)).encode() if job.query is not None else b"[%d.0]" % len(text) for text in job.texts]
        return Embedded(pieces, tokens=3 * len(pieces))

    async def heartbeat(self) -> None:
        self.beats += 1
        if not self.beats_are_answered:
            await asyncio.Event().wait()
        self.steps_taken += 1

    def kill(self) -> None:
        self.killed = True
        self.die("it was killed")

    def die(self, reason: str) -> None:
        self._death.set_result(reason)

    async def wait_dead(self) -> str:
        return await self._death

    async def close(self) -> None:
        self.closed = True


class FakeEmbedderFactory:
    """Makes fake backends, one after another; `error` makes the next start fail."""

    def __init__(self) -> None:
        self.backends: list[FakeBackend] = []
        self.error: Exception | None = None
        self.may_start = asyncio.Event()
        self.may_start.set()

    async def __call__(self, report: StageReport) -> EmbedderBackend:
        report("loading the fake")
        await self.may_start.wait()
        if self.error is not None:
            raise self.error
        self.backends.append(FakeBackend())
        return self.backends[-1]


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop turn until `condition()` holds; fails after five seconds."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event of its own
            await asyncio.sleep(0)


def fake_embedder(factory: FakeEmbedderFactory, max_texts: int = 20, **options: Any) -> Embedder:
    """An embedder with the models of `CARDS`."""
    models = {name: card.kind for name, card in CARDS.items()}
    return Embedder(factory, models, max_texts, **{"backoff_first_s": 0.01} | options)
