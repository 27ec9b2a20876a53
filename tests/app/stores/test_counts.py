"""Counts by name, of one process and of several that were forked."""

from __future__ import annotations

import os
import signal

import pytest

from app.stores.counts import Counts, CountTable, LocalCounts


@pytest.mark.parametrize("counts", [LocalCounts(), CountTable(1).row(0)], ids=["one process", "shared"])
def test_what_was_added_is_counted_until_it_is_removed(counts: Counts) -> None:
    for name in ("a", "a", "b"):
        counts.add(name)
    assert [counts.of(name) for name in "abc"] == [2, 1, 0]
    for name in ("a", "a", "b"):
        counts.remove(name)
    assert [counts.of(name) for name in "abc"] == [0, 0, 0]


def test_processes_see_what_the_others_count() -> None:
    table = CountTable(2)
    own = table.row(0)
    own.add("a")
    told, ready = os.pipe()
    child = os.fork()
    if child == 0:
        theirs = table.row(1)
        theirs.add("a")
        theirs.add("b")
        os.write(ready, bytes([theirs.of("a")]))
        signal.pause()
    try:
        assert os.read(told, 1) == bytes([2])
        assert [own.of("a"), own.of("b")] == [2, 1]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    table.row(1)
    assert [own.of("a"), own.of("b")] == [1, 0], "what a killed process held is given back by the next one"


def test_of_many_names_nearly_all_are_counted_exactly() -> None:
    counts = CountTable(1).row(0)
    names = [f"10.0.{number // 256}.{number % 256}" for number in range(2000)]
    for name in names:
        counts.add(name)
    found = [counts.of(name) for name in names]
    assert min(found) == 1, "never too low"
    assert sum(number > 1 for number in found) < 40
