"""The soak's books find what does not add up: a soak that could not fail would show nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from bench.soak.ledger import Ask, Fate, Ledger, Window

Counts = Counter[tuple[str, str]]


class Books:
    """A ledger with one request in it, and a server that tells the same of it."""

    def __init__(self, saw: Fate = "completed", meant: Fate = "completed") -> None:
        self.ledger = Ledger()
        self.ask: Ask = self.ledger.ask("a chat", "sse")
        self.ask.tokens = 7
        self.ledger.end(self.ask, {saw}, {meant})
        self.line: dict[str, Any] = {
            "request_id": self.ask.id,
            "wire": "sse",
            "outcome": saw,
            "completion_tokens": 7,
        }
        self.lines = [self.line]
        self.counted: Counts = Counter({("sse", saw): 1})

    def problems(self) -> list[str]:
        self.ledger.check(self.lines, self.counted)
        return self.ledger.problems


def test_what_adds_up_is_no_problem() -> None:
    assert Books().problems() == []


def _lose_the_line(books: Books) -> None:
    books.lines.clear()
    books.counted.clear()


def _count_twice(books: Books) -> None:
    books.counted["sse", "completed"] += 1


def _tell_twice(books: Books) -> None:
    books.lines.append(books.line)
    _count_twice(books)


def _tell_another_end(books: Books) -> None:
    books.line["outcome"] = "failed"
    books.counted = Counter({("sse", "failed"): 1})


def _tell_another_wire(books: Books) -> None:
    books.line["wire"] = "http"
    books.counted = Counter({("http", "completed"): 1})


def _tell_other_tokens(books: Books) -> None:
    books.line["completion_tokens"] = 6


def _tell_of_a_stranger(books: Books) -> None:
    books.lines.append(books.line | {"request_id": "another"})
    _count_twice(books)


def _leave_it_open(books: Books) -> None:
    books.ledger.ask("a chat that hangs", "sse")


@pytest.mark.parametrize(
    "spoil",
    [
        _lose_the_line,
        _count_twice,
        _tell_twice,
        _tell_another_end,
        _tell_another_wire,
        _tell_other_tokens,
        _tell_of_a_stranger,
        _leave_it_open,
    ],
)
def test_what_does_not_add_up_is_found(spoil: Callable[[Books], None]) -> None:
    books = Books()
    spoil(books)
    assert books.problems()


def test_an_end_that_nobody_was_out_for_is_found() -> None:
    assert Books(saw="failed").ledger.problems


def test_an_engine_that_is_gone_explains_a_failure() -> None:
    ledger = Ledger(windows=[Window(0.0)])
    ask = ledger.ask("a chat", "sse")
    ledger.end(ask, {"failed"}, {"completed"})
    assert ledger.problems == []


def test_who_leaves_without_an_answer_may_not_have_been_heard() -> None:
    ledger = Ledger()
    ask = ledger.ask("a chat, left", "http")
    ledger.end(ask, {"cancelled", None}, {"cancelled", None})
    ledger.check([], Counter())
    assert ledger.problems == []


@pytest.mark.parametrize(("took_s", "is_fine"), [(0.0, False), (60.0, True)])
def test_only_a_slow_client_may_have_been_served_before_it_left(took_s: float, is_fine: bool) -> None:
    ledger = Ledger()
    ask = ledger.ask("a stream, left", "sse")
    ask.began_at -= took_s
    ledger.leave(ask, frozenset({"cancelled"}))
    line = {"request_id": ask.id, "wire": "sse", "outcome": "completed"}
    ledger.check([line], Counter({("sse", "completed"): 1}))
    assert (ledger.problems == []) is is_fine


def test_a_reader_that_returns_after_the_engine_died_may_find_a_failure() -> None:
    ledger = Ledger()
    begun = ledger.ask("a resumable stream, lost", "sse")
    ledger.windows.append(Window(begun.began_at, begun.began_at))
    late = ledger.ask("a stream, read on", "sse", begun)
    ledger.end(late, {"failed"}, {"completed"})
    assert ledger.problems == []
    other = ledger.ask("a stream", "sse")
    ledger.end(other, {"failed"}, {"completed"})
    assert len(ledger.problems) == 1
