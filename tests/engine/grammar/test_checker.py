"""Whose constraint is compiled when, with a worker that compiles when the test says so."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from engine.grammar.cache import VerdictCache
from engine.grammar.checker import AT_ONCE, MAX_QUEUED, MAX_QUEUED_PER_CLIENT
from engine.grammar.constraint import Constraint, Verdict
from engine.grammar.figures import GrammarFigures
from engine.grammar.process import WorkerDiedError
from protocol.errors import Fault
from tests.engine.grammar.checkers import OK, Harness, fault_of, settled


async def test_the_same_constraint_is_compiled_once_for_all_who_wait() -> None:
    harness = Harness()
    tasks = [await harness.ask("same", client) for client in ("a", "b", "a")]
    assert harness.processes[0].compiled == ["same"]
    await harness.end("same")
    for task in tasks:
        await task
    await (await harness.ask("same", "c"))
    assert harness.processes[0].compiled == ["same"]


async def test_what_is_compiled_is_counted_by_the_server() -> None:
    harness = Harness()
    figures = harness.checker.figures = GrammarFigures()
    for text, outcome in (("one", "accepted"), ("two", "too_slow"), ("three", "accepted")):
        task = await harness.ask(text)
        await harness.end(text, Verdict(outcome, cpu_s=0.5))  # type: ignore[arg-type]  # a literal, in a loop
        await asyncio.gather(task, return_exceptions=True)
    await (await harness.ask("one"))
    assert figures == GrammarFigures(Counter({"accepted": 2, "too_slow": 1}), cpu_s=1.5, hits=1)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (Verdict("refused", "Unknown type."), "cannot be followed: Unknown type."),
        (Verdict("too_slow"), "takes more than 2 s to compile"),
        (Verdict("too_large"), "takes more than 256 MiB of memory to compile"),
        (Verdict("crashed"), "makes the grammar compiler fail"),
    ],
)
async def test_a_refusal_says_why_and_is_remembered(verdict: Verdict, words: str) -> None:
    harness = Harness()
    first = await harness.ask("bad")
    await harness.end("bad", verdict)
    second = await harness.ask("bad", "b")
    for task in (first, second):
        fault, message = await fault_of(task)
        assert fault is Fault.INVALID_SCHEMA
        assert words in message
    assert harness.processes[0].compiled == ["bad"]


@pytest.mark.parametrize("outcome", ["late", "busy"])
async def test_what_a_busy_machine_is_to_blame_for_is_tried_anew(outcome: Any) -> None:
    harness = Harness()
    task = await harness.ask("good")
    await harness.end("good", Verdict(outcome))
    assert (await fault_of(task))[0] is Fault.QUEUE_FULL
    await harness.ask("good")
    assert harness.running == ["good"]
    await harness.checker.close()


async def test_what_this_server_fails_at_is_its_own_fault_and_tried_anew() -> None:
    harness = Harness()
    task = await harness.ask("good")
    await harness.end("good", Verdict("failed", "OSError: no"))
    assert (await fault_of(task))[0] is Fault.INTERNAL
    await harness.ask("good")
    assert harness.running == ["good"]
    await harness.checker.close()


async def test_clients_take_turns() -> None:
    """One that floods has one of the two places, and another's constraint does not wait for its queue."""
    harness = Harness()
    for number in range(4):
        await harness.ask(f"a{number}", "a")
    assert harness.running == ["a0"]
    await harness.ask("b0", "b")
    assert harness.running == ["a0", "b0"]
    await harness.ask("c0", "c")
    await harness.end("a0")
    await harness.end("a1")
    assert harness.running == ["b0", "c0"]
    await harness.end("b0")
    assert harness.running == ["c0", "a2"]
    await harness.checker.close()


async def test_at_most_two_at_a_time() -> None:
    harness = Harness()
    for number in range(2 * AT_ONCE):
        await harness.ask(f"text{number}", f"client{number}")
    assert len(harness.running) == AT_ONCE
    await harness.checker.close()


async def test_a_constraint_that_another_client_shares_need_not_wait_for_the_first_ones_queue() -> None:
    harness = Harness()
    for text in ("a0", "a1", "shared"):
        await harness.ask(text, "a")
    task = await harness.ask("shared", "b")
    assert harness.running == ["a0", "shared"]
    await harness.end("shared")
    await task
    await harness.end("a0")
    assert harness.running == ["a1"]
    await harness.end("a1")
    assert harness.processes[0].compiled == ["a0", "shared", "a1"]


async def test_a_client_has_a_bounded_queue() -> None:
    harness = Harness()
    tasks = [await harness.ask(f"text{number}") for number in range(2 + MAX_QUEUED_PER_CLIENT)]
    fault, message = await fault_of(tasks[-1])
    assert (fault, str(MAX_QUEUED_PER_CLIENT) in message) == (Fault.QUEUE_FULL, True)
    # What waits already may be asked for again.
    assert not (await harness.ask("text3")).done()
    await harness.checker.close()


async def test_all_clients_have_a_bounded_queue_and_who_has_least_in_it_gets_in() -> None:
    harness = Harness()
    clients = MAX_QUEUED // MAX_QUEUED_PER_CLIENT
    tasks = {}
    for client in range(clients):
        for number in range(MAX_QUEUED_PER_CLIENT + (client < AT_ONCE)):
            tasks[client, number] = await harness.ask(f"{client}-{number}", str(client))
    assert sum(task.done() for task in tasks.values()) == 0
    overflow = [await harness.ask(f"{client}-last", f"late{client}") for client in range(AT_ONCE + 1)]
    assert not any(task.done() for task in overflow)
    pushed_out = [task for task in tasks.values() if task.done()]
    assert pushed_out
    for task in pushed_out:
        assert (await fault_of(task))[0] is Fault.QUEUE_FULL
    await harness.checker.close()


async def test_a_compile_ends_when_the_last_who_waits_leaves() -> None:
    harness = Harness()
    first, second = await harness.ask("one", "a"), await harness.ask("one", "b")
    await harness.ask("two", "a")
    first.cancel()
    await settled()
    assert harness.processes[0].cancelled == []
    second.cancel()
    await settled()
    assert (harness.processes[0].cancelled, harness.running) == (["one"], ["two"])
    await harness.checker.close()


async def test_who_leaves_the_queue_gives_the_place_back() -> None:
    harness = Harness()
    await harness.ask("runs")
    for number in range(3 * MAX_QUEUED_PER_CLIENT):
        task = await harness.ask(f"text{number}")
        assert not task.done()
        task.cancel()
        await settled()
    await harness.end("runs")
    assert harness.processes[0].compiled == ["runs"]
    await harness.ask("next")
    assert harness.running == ["next"]
    await harness.checker.close()


async def test_a_client_that_leaves_at_once_gives_its_turn_back() -> None:
    """A task that is cancelled before it begins runs nothing at all, not even what is to happen in any case."""
    harness = Harness()
    for number in range(3 * AT_ONCE):
        task = asyncio.create_task(harness.checker.check(Constraint("json", f"t{number}"), str(number), "schema"))
        await asyncio.sleep(0)
        task.cancel()
        await settled()
    await harness.ask("next")
    assert harness.running == ["next"]
    await harness.checker.close()


async def test_a_worker_that_died_is_replaced_and_the_constraint_compiled_by_the_next() -> None:
    harness = Harness()
    task = await harness.ask("one")
    harness.processes[0].die()
    await settled()
    assert len(harness.processes) == 2
    await harness.end("one")
    await task


async def test_a_worker_that_cannot_start_is_the_servers_fault_and_tried_again_for_the_next() -> None:
    harness = Harness()
    harness.failures.extend([WorkerDiedError("no memory"), WorkerDiedError("no memory")])
    assert (await fault_of(await harness.ask("one")))[0] is Fault.INTERNAL
    task = await harness.ask("one")
    await harness.end("one")
    await task


async def test_closing_fails_what_waits_and_ends_the_worker() -> None:
    harness = Harness()
    tasks = [await harness.ask("runs"), await harness.ask("waits")]
    await harness.checker.close()
    for task in tasks:
        assert (await fault_of(task))[0] is Fault.ENGINE_NOT_READY
    assert not harness.processes[0].is_alive


async def test_no_worker_runs_before_there_is_a_constraint() -> None:
    harness = Harness()
    assert harness.processes == []
    await harness.checker.close()


def test_the_cache_is_bounded_and_slow_constraints_are_few_in_it() -> None:
    cache = VerdictCache(max_verdicts=3, max_slow=1)
    for number in range(5):
        cache.put(b"%d" % number, OK)
    cache.get(b"2")
    cache.put(b"5", OK)
    assert [key for key in (b"2", b"3", b"4", b"5") if cache.get(key)] == [b"2", b"4", b"5"]
    slow = Verdict("accepted", cpu_s=1.0)
    cache.put(b"slow", slow)
    cache.put(b"slower", slow)
    assert (cache.get(b"slow"), cache.get(b"slower"), len(cache)) == (None, slow, 4)


def test_a_constraints_key_tells_its_kind_apart() -> None:
    assert Constraint("regex", "a").key != Constraint("grammar", "a").key
