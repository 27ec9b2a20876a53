"""A start that needs followers says for whom it waits, and does not wait for ever."""

from __future__ import annotations

import asyncio

import pytest

from engine.api import EngineStartError, FollowerLostError, Progress
from engine.ranks import waiting
from engine.ranks.waiting import unless_missing

SOON_S = 30


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "POLL_S", 0.005)


def ignored(_stage: str, _progress: Progress | None = None, /) -> None:
    pass


class FakeReports:
    """Knows what the test says."""

    def __init__(self, *missing: int, lost: bool = False) -> None:
        self.ranks = missing
        self.lost = lost

    def missing(self) -> tuple[int, ...]:
        return self.ranks

    def has_lost(self) -> bool:
        return self.lost


async def test_it_says_who_is_missing_and_goes_on_when_all_have_come() -> None:
    ranks, stages, loaded = FakeReports(1, 2), list[str](), asyncio.Event()
    changed = asyncio.Event()

    def report(stage: str, _: Progress | None = None, /) -> None:
        stages.append(stage)
        changed.set()

    async def start() -> str:
        await loaded.wait()
        return "engine"

    starting = asyncio.create_task(unless_missing(start(), ranks, report, 1000))
    for left in ((2,), ()):
        await asyncio.wait_for(changed.wait(), SOON_S)
        changed.clear()
        ranks.ranks = left
    await asyncio.wait_for(changed.wait(), SOON_S)
    loaded.set()
    assert await asyncio.wait_for(starting, SOON_S) == "engine"
    assert stages == [
        "waiting for the ranks 1, 2, on other machines",
        "waiting for rank 2, on another machine",
        "loading the model",
    ]


@pytest.mark.parametrize(
    ("ranks", "error", "text"),
    [
        (FakeReports(3), EngineStartError, r"^--follower-timeout-s: rank 3, .* did not report within 0\.05 s"),
        (FakeReports(lost=True), FollowerLostError, "^a rank on another machine ended"),
    ],
    ids=["missing", "lost"],
)
async def test_a_follower_that_does_not_come_or_goes_ends_the_start(
    ranks: FakeReports, error: type[Exception], text: str
) -> None:
    cancelled = asyncio.Event()

    async def start() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(error, match=text):
        await asyncio.wait_for(unless_missing(start(), ranks, ignored, 0.05), SOON_S)
    assert cancelled.is_set()


async def test_a_start_that_fails_fails_as_it_did() -> None:
    async def start() -> None:
        raise RuntimeError("no such model")

    with pytest.raises(RuntimeError, match="no such model"):
        await unless_missing(start(), FakeReports(1), ignored, 1000)


async def test_cancelling_it_cancels_the_start() -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def start() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    waiting_for = asyncio.create_task(unless_missing(start(), FakeReports(), ignored, 1000))
    await asyncio.wait_for(began.wait(), SOON_S)
    waiting_for.cancel()
    await asyncio.gather(waiting_for, return_exceptions=True)
    assert cancelled.is_set()
