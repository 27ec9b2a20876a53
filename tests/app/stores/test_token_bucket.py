"""The arithmetic of a token bucket."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from app.stores.token_bucket import TokenBucket, wait_s


@given(st.integers(1, 120), st.lists(st.tuples(st.floats(0, 90), st.integers(1, 10)), max_size=60))
def test_no_span_of_time_gets_more_than_a_minutes_worth_and_the_refill(
    per_minute: int, asked: list[tuple[float, int]]
) -> None:
    bucket = TokenBucket(per_minute, 0.0)
    taken: list[tuple[float, int]] = []
    for now, amount in zip(accumulate(pause for pause, _ in asked), (amount for _, amount in asked), strict=True):
        if wait_s(amount, bucket.level(now), per_minute) == 0:
            bucket.take(amount, now)
            taken.append((now, amount))
    for first in range(len(taken)):
        total = 0
        for now, amount in taken[first:]:
            total += amount
            assert total <= per_minute * (1 + (now - taken[first][0]) / 60) + 1e-6


@given(st.integers(1, 1000), st.integers(1, 1000), st.integers(0, 5000))
def test_the_wait_that_it_tells_is_enough_and_no_longer_than_needed(per_minute: int, amount: int, used: int) -> None:
    bucket = TokenBucket(per_minute, 0.0)
    bucket.take(used, 0.0)
    delay_s = wait_s(amount, bucket.level(0.0), per_minute)
    if amount > per_minute:
        assert delay_s == float("inf")
        return
    assert wait_s(amount, bucket.level(delay_s + 1e-6), per_minute) == 0
    if delay_s > 0.01:
        assert wait_s(amount, bucket.level(delay_s - 0.01), per_minute) > 0


def test_what_comes_evenly_is_set_against_the_refill_of_its_time_and_what_comes_at_once_is_not() -> None:
    evenly, at_once = TokenBucket(60, 0.0), TokenBucket(60, 0.0)
    evenly.take_evenly(60, 60.0, over_s=60.0)
    at_once.take(60, 60.0)
    assert evenly.level(60.0) == 60
    assert at_once.level(60.0) == 0
