"""Which texts are computed next, and which together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.embeddings.batcher import MAX_IDLE, ROUND_BATCHES, Batcher, Text, planned


def text(request: str, length: int = 10, group: str = "model", item: int = 0) -> Text[int]:
    return Text(request, group, length, item)


def drained(batches: Batcher[int]) -> list[list[Text[int]]]:
    found = []
    while batch := batches.next():
        found.append(batch)
    return found


def test_nothing_comes_of_nothing() -> None:
    assert Batcher[int](100).next() == []


def test_what_came_together_is_computed_together() -> None:
    batches = Batcher[int](100)
    batches.add("a", [text("1")])
    batches.add("b", [text("2")])
    assert {one.request for one in batches.next()} == {"1", "2"}
    assert batches.next() == []


def test_a_small_request_does_not_wait_for_a_huge_one() -> None:
    batches = Batcher[int](50)
    batches.add("a", [text("huge") for _ in range(1000)])
    batches.next()
    batches.add("b", [text("small")])
    rounds = [batches.next() for _ in range(2 * ROUND_BATCHES)]
    assert "small" in {one.request for batch in rounds for one in batch}


def test_a_small_request_does_not_wait_for_a_huge_one_of_the_same_client() -> None:
    batches = Batcher[int](50)
    batches.add("a", [text("huge") for _ in range(1000)])
    batches.next()
    batches.add("a", [text("small")])
    rounds = [batches.next() for _ in range(2 * ROUND_BATCHES)]
    assert "small" in {one.request for batch in rounds for one in batch}


def test_clients_share_by_tokens_however_many_requests_they_make() -> None:
    batches = Batcher[int](100)
    batches.add("many", [text(f"m{number}", 10) for number in range(500)])
    batches.add("long", [text("long", 50) for _ in range(100)])
    given: dict[str, int] = {"m": 0, "l": 0}
    for _ in range(20):
        for one in batches.next():
            given[one.request[0]] += one.length
    assert abs(given["m"] - given["l"]) <= 2 * ROUND_BATCHES * 100


def test_a_stream_of_small_requests_does_not_starve_a_huge_one() -> None:
    batches = Batcher[int](10)
    batches.add("a", [text("huge") for _ in range(50)])
    seen = []
    for number in range(30):
        batches.add("a", [text(f"small {number}")])
        seen += [one.request for one in batches.next()]
    assert seen.count("huge") >= 2


def test_a_rest_saves_up_no_turns() -> None:
    batches = Batcher[int](10)
    batches.add("rested", [text("first")])
    drained(batches)
    batches.add("busy", [text("busy") for _ in range(100)])
    for _ in range(50):
        batches.next()
    batches.add("rested", [text("again") for _ in range(50)])
    after = [one.request for _ in range(20) for one in batches.next()]
    assert 7 <= after.count("busy") <= 13


def test_what_is_cancelled_is_not_computed() -> None:
    batches = Batcher[int](20)
    batches.add("a", [text("gone", length) for length in range(1, 40)])
    batches.add("b", [text("stays")])
    batches.next()
    batches.cancel("a", "gone")
    batches.cancel("nobody", "nothing")
    left = [one.request for batch in drained(batches) for one in batch]
    assert set(left) <= {"stays"}
    batches.add("a", [text("new")])
    assert [one.request for batch in drained(batches) for one in batch] == ["new"]


def test_lengths_that_differ_are_not_padded_to_each_other() -> None:
    texts = [text("a", 10) for _ in range(20)] + [text("b", 200) for _ in range(4)]
    assert [{one.length for one in batch} for batch in planned(texts, 1024)] == [{10}, {200}]


def test_a_little_padding_is_cheaper_than_another_batch() -> None:
    assert len(planned([text("a", length) for length in (10, 11, 12, 13)], 1024)) == 1


def test_groups_are_not_mixed() -> None:
    batches = planned([text("a", group=group) for group in ("one", "two", "one")], 1024)
    assert sorted(len(batch) for batch in batches) == [1, 2]


# On a busy machine the making of the examples counts as slow; that says nothing of what is tested.
@given(st.lists(st.integers(1, 300), max_size=200), st.integers(1, 1000))
def test_nothing_is_lost_and_no_batch_is_too_large(lengths: list[int], limit: int) -> None:
    batches = Batcher[int](limit)
    for number, length in enumerate(lengths):
        batches.add(f"client {number % 3}", [text(f"request {number % 7}", length, item=number)])
    found = drained(batches)
    assert sorted(one.item for batch in found for one in batch) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(one.length for one in batch) <= limit


def test_clients_that_are_gone_are_forgotten() -> None:
    batches = Batcher[int](100)
    for number in range(MAX_IDLE + 10):
        batches.add(f"client {number}", [text("one")])
        drained(batches)
    assert len(batches._clients) <= MAX_IDLE + 1
