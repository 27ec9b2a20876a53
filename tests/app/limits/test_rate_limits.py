"""Request and token limits, by the clock and by a model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from app.config.connections import RatesPerMinute
from app.limits.rate_limits import RateLimits, duration
from app.stores.base import Draw, Drawn
from app.stores.memory import FIRST_SWEEP, MemoryStore
from protocol.errors import Fault, TwowireError
from protocol.output import Usage
from tests.app.channel.channels import Clock


@dataclass(eq=False)
class Answer:
    """A generation, as far as an account sees it."""

    usage: Usage = field(default_factory=Usage)


async def refusal_of(call: Any, *arguments: Any, **options: Any) -> TwowireError:
    with pytest.raises(TwowireError) as refused:
        await call(*arguments, **options)
    return refused.value


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0201, "21ms"),
        (0.02, "20ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (59.9999, "1m0s"),
        (360, "6m0s"),
        (3602, "1h0m2s"),
    ],
)
def test_durations_are_written_as_openai_does(seconds: float, text: str) -> None:
    assert duration(seconds) == text


async def test_requests_beyond_the_minutes_are_refused_until_one_has_come_back() -> None:
    clock = Clock()
    limits = RateLimits(MemoryStore(clock), RatesPerMinute(2, None), clock)
    await limits.admit("a")
    await limits.admit("a")
    refused = await refusal_of(limits.admit, "a")
    assert (refused.fault, refused.retry_after_s) == (Fault.TOO_MANY_REQUESTS, 30)
    await limits.admit("b")
    clock.now += 29.9
    assert (await refusal_of(limits.admit, "a")).retry_after_s == 1
    clock.now += 0.1
    await limits.admit("a")


async def test_a_refused_request_is_not_counted() -> None:
    clock = Clock()
    limits = RateLimits(MemoryStore(clock), RatesPerMinute(1, None), clock)
    await limits.admit("a")
    for _ in range(100):
        await refusal_of(limits.admit, "a")
    clock.now += 60
    await limits.admit("a")


async def test_answers_are_taken_as_they_come_and_may_overdraw() -> None:
    clock = Clock()
    limits = RateLimits(MemoryStore(clock), RatesPerMinute(None, 60), clock)
    await limits.admit("a")
    await limits.reserve("a", 40)
    answer = Answer()
    limits.follow("a", answer)
    answer.usage.completion_tokens = 15
    assert (await limits.headers("a"))["x-ratelimit-remaining-tokens"] == "5"
    answer.usage.completion_tokens = 50
    limits.ended(answer)
    assert await limits.headers("a") == {
        "x-ratelimit-limit-tokens": "60",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "1m30s",
    }
    refused = await refusal_of(limits.admit, "a")
    assert (refused.fault, refused.retry_after_s) == (Fault.TOO_MANY_TOKENS, 31)
    await limits.admit("b")
    clock.now += 31
    await limits.admit("a")


async def test_a_prompt_that_does_not_fit_takes_nothing_and_one_that_never_will_names_no_time() -> None:
    clock = Clock()
    limits = RateLimits(MemoryStore(clock), RatesPerMinute(None, 60), clock)
    await limits.reserve("a", 50)
    assert (await refusal_of(limits.reserve, "a", 20)).retry_after_s == 10
    await limits.reserve("a", 10)
    assert (await refusal_of(limits.reserve, "b", 61)).retry_after_s is None


async def test_an_estimate_beyond_a_minutes_tokens_needs_a_full_bucket_and_overdraws_it() -> None:
    clock = Clock()
    limits = RateLimits(MemoryStore(clock), RatesPerMinute(None, 60), clock)
    await limits.reserve("a", 90, is_estimate=True)
    assert (await refusal_of(limits.reserve, "a", 90)).retry_after_s is None, "a count is not an estimate"
    refused = await refusal_of(limits.reserve, "a", 90, is_estimate=True)
    assert (refused.retry_after_s, "60 are needed" in refused.message) == (90, True)
    await limits.spend("a", 50 - 90)
    assert (await limits.standing("a"))[0]["remaining"] == 10


async def test_what_an_ended_generation_used_is_taken_without_another_request() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    limits = RateLimits(store, RatesPerMinute(None, 60), clock)
    limits._settle_after_s = 0.0
    answers = [Answer(), Answer()]
    for answer in answers:
        limits.follow("a", answer)
        answer.usage.completion_tokens = 25
    for answer in answers:
        limits.ended(answer)
    async with asyncio.timeout(5):
        while limits._running:  # noqa: ASYNC110  # what is waited for has no event of its own
            await asyncio.sleep(0)
    assert (await store.draw([Draw("bucket:tokens:a", 60)])).levels == (10,)


async def test_what_was_reserved_in_vain_is_given_back_but_never_more() -> None:
    clock = Clock()
    limits = RateLimits(MemoryStore(clock), RatesPerMinute(None, 60), clock)
    await limits.reserve("a", 50)
    await limits.spend("a", -50)
    await limits.spend("a", -50)
    assert (await limits.standing("a"))[0]["remaining"] == 60


async def test_without_limits_nothing_is_kept_or_said() -> None:
    store = MemoryStore()
    limits = RateLimits(store, RatesPerMinute())
    answer = Answer()
    await limits.admit("a")
    await limits.reserve("a", 10**9)
    limits.follow("a", answer)
    limits.ended(answer)
    await limits.spend("a", 10**9)
    assert (len(store), await limits.headers("a"), await limits.standing("a")) == (0, {}, [])


async def test_clients_that_have_gone_are_forgotten_and_no_others() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    limits = RateLimits(store, RatesPerMinute(1, 60), clock)
    answer = Answer()
    limits.follow("runs", answer)
    numbers = count()
    while len(store) < FIRST_SWEEP:
        await limits.admit(f"gone {next(numbers)}")
    clock.now += 60
    await limits.admit("fresh")
    assert len(store) == 2, "two buckets of the fresh one"
    answer.usage.completion_tokens = 100
    limits.ended(answer)
    assert (await limits.standing("runs"))[1]["remaining"] == 20


class SharedMemory(MemoryStore):
    """A store that servers share, and how often it was drawn from."""

    is_shared = True
    draws = 0

    async def draw(self, draws: Sequence[Draw]) -> Drawn:
        self.draws += 1
        return await super().draw(draws)


async def test_the_headers_of_a_response_do_not_ask_a_shared_store_again() -> None:
    clock = Clock()
    store = SharedMemory(clock)
    limits = RateLimits(store, RatesPerMinute(60, 600), clock)
    await limits.admit("a")
    await limits.reserve("a", 100)
    answer = Answer()
    limits.follow("a", answer)
    answer.usage.completion_tokens = 10
    clock.now += 0.5
    headers = await limits.headers("a")
    assert store.draws == 2
    assert (headers["x-ratelimit-remaining-requests"], headers["x-ratelimit-remaining-tokens"]) == ("59", "495")
    assert (await limits.standing("a"))[1]["remaining"] == 495
    assert store.draws == 3, "without a request before it, it is asked"
    await limits.admit("a")
    clock.now += 2
    await limits.headers("a")
    assert store.draws == 5, "what was drawn long ago no longer counts"
    limits.ended(answer)


async def test_tokens_that_could_not_be_taken_are_taken_later() -> None:
    class Failing(MemoryStore):
        fails = False

        async def draw(self, draws: Sequence[Draw]) -> Drawn:
            if self.fails:
                raise asyncio.CancelledError
            return await super().draw(draws)

    clock = Clock()
    store = Failing(clock)
    limits = RateLimits(store, RatesPerMinute(None, 60), clock)
    answer = Answer()
    limits.follow("a", answer)
    answer.usage.completion_tokens = 50
    limits.ended(answer)
    store.fails = True
    with pytest.raises(asyncio.CancelledError):
        await limits.standing("a")
    store.fails = False
    (left,) = await limits.standing("a")
    assert left["remaining"] == 10
