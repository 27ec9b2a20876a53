"""Whose turn it is: by examples, and for any order of events. No event loop."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from engine.queue.fair_queue import Turn, Turns


def taken(turns: Turns, client: str, count: int = 1, places: int = 1) -> list[Turn]:
    """So many turns of a client, all of which it gets."""
    found = [turns.take(client, places) for _ in range(count)]
    assert None not in found
    return [turn for turn in found if turn is not None]


def states(turns: list[Turn]) -> Counter[str]:
    return Counter(turn.state for turn in turns)


def test_who_comes_late_gets_the_next_place_although_another_waits_with_many() -> None:
    turns = Turns(4, 100)
    flood = taken(turns, "flood", 64)
    (late,) = taken(turns, "late")
    told: list[str] = []
    late.tell = lambda: told.append("late")
    assert late.state == "waits"
    turns.give_back(flood[0])
    assert (late.state, told) == ("runs", ["late"])
    assert states(flood)["runs"] == 3


def test_two_that_flood_share_the_places_evenly() -> None:
    turns = Turns(8, 1000)
    running = taken(turns, "a", 8)
    taken(turns, "a", 100)
    taken(turns, "b", 100)
    for turn in running:
        turns.give_back(turn)
    assert turns._held == {"a": 4, "b": 4}


def test_a_request_of_many_places_counts_as_many() -> None:
    turns = Turns(8, 100)
    (wide,) = taken(turns, "wide", places=6)
    narrow = taken(turns, "narrow", 2)
    waiting = taken(turns, "wide", 1, places=6)
    more = taken(turns, "narrow", 4)
    turns.give_back(narrow[0])
    assert states(more)["runs"] == 1
    turns.give_back(wide)
    assert states(waiting) == {"runs": 1}, "it has none, the other two"
    assert states(more) == {"runs": 1, "waits": 3}
    assert turns.running == 8


def test_a_request_of_many_places_begins_with_the_first_free_one() -> None:
    turns = Turns(8, 100)
    (narrow, *_) = taken(turns, "narrow", 8)
    (wide,) = taken(turns, "wide", places=6)
    turns.give_back(narrow)
    assert wide.state == "runs"
    assert turns.running == 13, "or it would wait for ever"


def test_a_clients_own_requests_keep_their_order() -> None:
    turns = Turns(1, 10)
    order = taken(turns, "a", 5)
    for position, turn in enumerate(order):
        assert [other.state for other in order[position:]] == ["runs"] + ["waits"] * (4 - position)
        turns.give_back(turn)


def test_among_equals_the_one_that_was_served_longest_ago_is_next() -> None:
    turns = Turns(1, 100)
    (running,) = taken(turns, "x")
    waiting = {name: taken(turns, name, 3) for name in "abc"}
    served = ""
    for _ in range(9):
        turns.give_back(running)
        (name,) = turns._held
        running = next(turn for turn in waiting[name] if turn.state == "runs")
        served += name
    assert served == "abcabcabc"


def test_a_client_has_no_more_than_it_may_and_the_rest_is_for_others() -> None:
    turns = Turns(8, 100, per_client=3)
    flood = taken(turns, "flood", 20)
    assert states(flood) == {"runs": 3, "waits": 17}
    assert states(taken(turns, "late", 4)) == {"runs": 3, "waits": 1}
    turns.give_back(flood[0])
    assert states(flood) == {"runs": 3, "waits": 16, "out": 1}


def test_a_full_queue_makes_room_for_who_has_less_in_it_and_for_nobody_else() -> None:
    turns = Turns(1, 4)
    flood = taken(turns, "flood", 5)
    told: list[int] = []
    for position, turn in enumerate(flood):
        turn.tell = lambda position=position: told.append(position)  # type: ignore[misc]  # mypy knows no defaults here
    assert not turns.has_room("flood", 1)
    assert turns.take("flood", 1) is None
    assert turns.has_room("late", 1)
    late = taken(turns, "late", 2)
    assert told == [4, 3], "the newest first"
    assert not turns.has_room("late", 1)
    assert turns.take("late", 1) is None, "it would have more than the other"
    assert states(flood) == {"runs": 1, "waits": 2, "out": 2}
    assert states(late) == {"waits": 2}
    assert turns.waiting == 4


def test_nobody_is_pushed_out_for_a_request_that_does_not_fit_even_so() -> None:
    turns = Turns(1, 4)
    flood = taken(turns, "flood", 5)
    assert turns.take("late", 4) is None
    assert states(flood) == {"runs": 1, "waits": 4}


def test_without_a_queue_nothing_waits() -> None:
    turns = Turns(2, 0)
    taken(turns, "a", 2)
    assert turns.take("b", 1) is None
    assert (turns.running, turns.waiting) == (2, 0)


Step = tuple[str, int, int]
STEPS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 4), st.integers(0, 40)), max_size=80)


@given(st.integers(1, 6), st.integers(0, 8), st.none() | st.integers(1, 6), STEPS)
def test_for_any_order_of_events_places_are_bounded_used_and_given_back(
    running: int, queued: int, per_client: int | None, steps: list[Step]
) -> None:
    turns = Turns(running, queued, per_client)
    alive: list[Turn] = []
    for client, places, choice in steps:
        if choice % 3 == 0 and alive:
            turns.give_back(alive.pop(choice % len(alive)))
        elif places <= turns.limit:
            had_room = turns.has_room(client, places)
            turn = turns.take(client, places)
            assert had_room == (turn is not None), "the early answer is the same"
            alive += [turn] if turn is not None else []
        alive = [turn for turn in alive if turn.state != "out"]
        held: Counter[str] = Counter()
        waits: Counter[str] = Counter()
        for turn in alive:
            (held if turn.state == "runs" else waits)[turn.client] += turn.places
        assert (turns.running, turns.waiting) == (held.total(), waits.total())
        assert turns.places <= running + queued
        assert turns.waiting <= queued
        limit = running if per_client is None else min(per_client, running)
        # Nobody waits beside a free place that is open to it.
        assert turns.running >= running or all(held[client] >= limit for client in waits)
        # A request that wants many begins with the first free place; before it, there was one.
        assert turns.running < running + 4
    for turn in list(alive):
        turns.give_back(turn)
        turns.give_back(turn)
    assert (turns.running, turns.waiting, turns._held, turns._queues, turns._waits) == (0, 0, {}, {}, {})
