"""The fair queue: by examples, and for any order of events. No event loop."""

from __future__ import annotations

from collections import Counter
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from engine.queue.fair_queue import FairQueue, QueueEntry


def taken(queue: FairQueue, client: str, count: int = 1, slots: int = 1) -> list[QueueEntry]:
    """`count` entries of one client, all of which it gets."""
    found = [queue.enter(client, slots) for _ in range(count)]
    assert None not in found
    return [entry for entry in found if entry is not None]


def states(entries: list[QueueEntry]) -> Counter[str]:
    return Counter(entry.state for entry in entries)


def test_who_comes_late_gets_the_next_slot_although_another_waits_with_many() -> None:
    queue = FairQueue(4, 100)
    flood = taken(queue, "flood", 64)
    (late,) = taken(queue, "late")
    told: list[str] = []
    late.on_change = lambda: told.append("late")
    assert late.state == "waiting"
    queue.leave(flood[0])
    assert (late.state, told) == ("running", ["late"])
    assert states(flood)["running"] == 3


def test_two_that_flood_share_the_slots_evenly() -> None:
    queue = FairQueue(8, 1000)
    running = taken(queue, "a", 8)
    taken(queue, "a", 100)
    taken(queue, "b", 100)
    for entry in running:
        queue.leave(entry)
    assert queue._held == {"a": 4, "b": 4}


def test_a_request_of_many_slots_counts_as_many() -> None:
    queue = FairQueue(8, 100)
    (wide,) = taken(queue, "wide", slots=6)
    narrow = taken(queue, "narrow", 2)
    waiting = taken(queue, "wide", 1, slots=6)
    more = taken(queue, "narrow", 4)
    queue.leave(narrow[0])
    assert states(more)["running"] == 1
    queue.leave(wide)
    assert states(waiting) == {"running": 1}, "it has none, the other two"
    assert states(more) == {"running": 1, "waiting": 3}
    assert queue.running == 8


def test_a_request_of_many_slots_begins_with_the_first_free_one() -> None:
    queue = FairQueue(8, 100)
    (narrow, *_) = taken(queue, "narrow", 8)
    (wide,) = taken(queue, "wide", slots=6)
    queue.leave(narrow)
    assert wide.state == "running"
    assert queue.running == 13, "or it would wait for ever"


def test_a_clients_own_requests_keep_their_order() -> None:
    queue = FairQueue(1, 10)
    order = taken(queue, "a", 5)
    for position, entry in enumerate(order):
        assert [other.state for other in order[position:]] == ["running"] + ["waiting"] * (4 - position)
        queue.leave(entry)


def test_among_equals_the_one_that_was_served_longest_ago_is_next() -> None:
    queue = FairQueue(1, 100)
    (running,) = taken(queue, "x")
    waiting = {name: taken(queue, name, 3) for name in "abc"}
    served = ""
    for _ in range(9):
        queue.leave(running)
        (name,) = queue._held
        running = next(entry for entry in waiting[name] if entry.state == "running")
        served += name
    assert served == "abcabcabc"


def test_a_client_has_no_more_than_it_may_and_the_rest_is_for_others() -> None:
    queue = FairQueue(8, 100, per_client=3)
    flood = taken(queue, "flood", 20)
    assert states(flood) == {"running": 3, "waiting": 17}
    assert states(taken(queue, "late", 4)) == {"running": 3, "waiting": 1}
    queue.leave(flood[0])
    assert states(flood) == {"running": 3, "waiting": 16, "out": 1}


def test_a_full_queue_makes_room_for_who_has_less_in_it_and_for_nobody_else() -> None:
    queue = FairQueue(1, 4)
    flood = taken(queue, "flood", 5)
    told: list[int] = []
    for position, entry in enumerate(flood):
        entry.on_change = lambda position=position: told.append(position)  # type: ignore[misc]  # mypy knows no defaults here
    assert not queue.has_room("flood", 1)
    assert queue.enter("flood", 1) is None
    assert queue.has_room("late", 1)
    late = taken(queue, "late", 2)
    assert told == [4, 3], "the newest first"
    assert not queue.has_room("late", 1)
    assert queue.enter("late", 1) is None, "it would have more than the other"
    assert states(flood) == {"running": 1, "waiting": 2, "out": 2}
    assert states(late) == {"waiting": 2}
    assert queue.waiting == 4


def test_nobody_is_pushed_out_for_a_request_that_does_not_fit_even_so() -> None:
    queue = FairQueue(1, 4)
    flood = taken(queue, "flood", 5)
    assert queue.enter("late", 4) is None
    assert states(flood) == {"running": 1, "waiting": 4}


def test_without_a_queue_nothing_waits() -> None:
    queue = FairQueue(2, 0)
    taken(queue, "a", 2)
    assert queue.enter("b", 1) is None
    assert (queue.running, queue.waiting) == (2, 0)


Step = tuple[str, int, int]
STEPS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 4), st.integers(0, 40)), max_size=80)


@given(st.integers(1, 6), st.integers(0, 8), st.none() | st.integers(1, 6), STEPS)
def test_for_any_order_of_events_slots_are_bounded_used_and_given_back(
    running: int, queued: int, per_client: int | None, steps: list[Step]
) -> None:
    queue = FairQueue(running, queued, per_client)
    alive: list[QueueEntry] = []
    for client, slots, choice in steps:
        if choice % 3 == 0 and alive:
            queue.leave(alive.pop(choice % len(alive)))
        elif slots <= queue.limit:
            had_room = queue.has_room(client, slots)
            entry = queue.enter(client, slots)
            assert had_room == (entry is not None), "the early answer is the same"
            alive += [entry] if entry is not None else []
        alive = [entry for entry in alive if entry.state != "out"]
        held: Counter[str] = Counter()
        waits: Counter[str] = Counter()
        for entry in alive:
            (held if entry.state == "running" else waits)[entry.client] += entry.slots
        assert (queue.running, queue.waiting) == (held.total(), waits.total())
        assert queue.slots <= running + queued
        assert queue.waiting <= queued
        limit = running if per_client is None else min(per_client, running)
        # Nobody waits beside a free slot that it may take.
        assert queue.running >= running or all(held[client] >= limit for client in waits)
        # A request for many starts with the first free slot, so there was one before it.
        assert queue.running < running + 4
    for entry in list(alive):
        queue.leave(entry)
        queue.leave(entry)
    assert (queue.running, queue.waiting, queue._held, queue._queues, queue._waits) == (0, 0, {}, {}, {})


def test_the_order_is_that_in_which_entries_start() -> None:
    queue = FairQueue(2, 20)
    running = taken(queue, "x", 2)
    waiting = [queue.enter(client, 1, f"{client}{number}") for number in range(3) for client in "abc"]
    told = [entry.label for entry in queue.order()]
    started: list[str] = []

    def start(entry: QueueEntry) -> None:
        started.append(entry.label)
        running.append(entry)

    for entry in waiting:
        assert entry is not None
        entry.on_change = partial(start, entry)
    while running:
        queue.leave(running.pop(0))
    assert started == told == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]
    assert queue.order() == []


def test_in_the_order_who_holds_less_comes_first() -> None:
    queue = FairQueue(2, 20)
    taken(queue, "a", 2)
    for number in range(3):
        for client in "ab":
            queue.enter(client, 1, f"{client}{number}")
    assert [entry.label for entry in queue.order()] == ["b0", "b1", "a0", "b2", "a1", "a2"]


def test_the_lowest_priority_runs_first_whoever_asked() -> None:
    queue = FairQueue(1, 10)
    (running,) = taken(queue, "a")
    later, urgent, usual = (
        queue.enter(client, 1, "", priority) for client, priority in (("b", 5), ("c", -1), ("b", 0))
    )
    assert later is not None
    assert urgent is not None
    assert usual is not None
    assert queue.order() == [urgent, usual, later]
    queue.leave(running)
    assert (urgent.state, usual.state, later.state) == ("running", "waiting", "waiting")
    queue.leave(urgent)
    assert (usual.state, later.state) == ("running", "waiting")
