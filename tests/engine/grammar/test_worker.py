"""The real worker with the bundled model's tokenizer: what it accepts and refuses, and what it survives."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import llguidance
import psutil
import pytest
import uvloop

from engine.config import GUIDE
from engine.grammar.backends import guidance_source, parser_limits
from engine.grammar.constraint import BackendSpec, CompileLimits, Constraint
from engine.grammar.process import GrammarProcess, WorkerDiedError
from tests.engine.embeddings.fake_embedder import until

LIMIT_S = 60
SPEC = BackendSpec("guidance", (GUIDE / "tokenizer.json").read_text(), None, 0)
SMALL = Constraint("json", '{"type": "object", "properties": {"a": {"type": "string"}}}')
LIMITS = CompileLimits(cpu_s=0.5, memory_mib=128, wall_factor=1000)
SLOW = {"type": "object", "properties": {f"p{number}": {"type": "boolean"} for number in range(12_000)}}
"""Takes many seconds and little memory: each property may follow each."""


def json_constraint(schema: Any) -> Constraint:
    return Constraint("json", json.dumps(schema))


@pytest.fixture
async def worker() -> AsyncIterator[GrammarProcess]:
    process = await GrammarProcess.start(SPEC, LIMITS)
    async with asyncio.timeout(LIMIT_S):
        yield process
        await process.close()


@pytest.fixture
async def patient() -> AsyncIterator[GrammarProcess]:
    """One whose compiles go on until the test ends them."""
    process = await GrammarProcess.start(SPEC, CompileLimits(cpu_s=100.0, memory_mib=1024, wall_factor=1000))
    async with asyncio.timeout(LIMIT_S):
        yield process
        await process.close()


@pytest.mark.parametrize(
    ("constraint", "outcome"),
    [
        (SMALL, "accepted"),
        (Constraint("regex", "[a-z]+"), "accepted"),
        (Constraint("regex", "(a"), "refused"),
        (Constraint("grammar", "start: /a+/"), "accepted"),
        (Constraint("grammar", "start: nowhere"), "refused"),
        (Constraint("choice", '["yes", "no"]'), "accepted"),
        (json_constraint({"type": "nothing"}), "refused"),
        (Constraint("json", "[" * 100_000), "refused"),
        (json_constraint({"type": "array", "items": {"type": "integer"}, "minItems": 2**62}), "too_large"),
        (json_constraint(SLOW), "too_slow"),
    ],
)
async def test_a_constraint_gets_its_verdict_and_the_next_one_too(
    worker: GrammarProcess, constraint: Constraint, outcome: str
) -> None:
    verdict = await worker.compile(constraint)
    assert (verdict.outcome, bool(verdict.message)) == (outcome, outcome == "refused")
    assert verdict.cpu_s < LIMITS.cpu_s + 0.5
    assert (await worker.compile(SMALL)).outcome == "accepted"
    assert psutil.Process(worker.pid).children() == []


def test_it_works_with_the_servers_event_loop() -> None:
    """Whose transports are not asyncio's."""

    async def outcome() -> str:
        process = await GrammarProcess.start(SPEC, LIMITS)
        verdict = await process.compile(SMALL)
        await process.close()
        return verdict.outcome

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(asyncio.wait_for(outcome(), LIMIT_S)) == "accepted"


async def test_it_stays_small(worker: GrammarProcess) -> None:
    """Neither torch nor transformers nor vLLM are imported, and what a compile takes is gone with its child."""
    await worker.compile(json_constraint({"type": "array", "items": {"type": "integer"}, "minItems": 2**62}))
    assert psutil.Process(worker.pid).memory_info().rss < 100 * 1024 * 1024


async def test_a_compile_that_nobody_waits_for_ends(patient: GrammarProcess) -> None:
    waiting = asyncio.create_task(patient.compile(json_constraint(SLOW)))
    await until(lambda: psutil.Process(patient.pid).children() != [])
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert psutil.Process(patient.pid).children() == []
    assert (await patient.compile(SMALL)).outcome == "accepted"


async def test_a_compile_that_takes_too_long_on_the_clock_ends() -> None:
    process = await GrammarProcess.start(SPEC, CompileLimits(cpu_s=100.0, memory_mib=128, wall_factor=0))
    async with asyncio.timeout(LIMIT_S):
        assert (await process.compile(json_constraint(SLOW))).outcome == "late"
        await process.close()


async def test_a_child_that_cannot_set_its_limits_is_not_the_constraints_fault() -> None:
    process = await GrammarProcess.start(SPEC, CompileLimits(memory_mib=2**50))
    async with asyncio.timeout(LIMIT_S):
        verdict = await process.compile(SMALL)
        await process.close()
    assert (verdict.outcome, verdict.is_final) == ("failed", False)
    assert "OverflowError" in verdict.message


async def test_a_compile_that_is_killed_says_so(patient: GrammarProcess) -> None:
    waiting = asyncio.create_task(patient.compile(json_constraint(SLOW)))
    await until(lambda: psutil.Process(patient.pid).children() != [])
    (child,) = psutil.Process(patient.pid).children()
    child.kill()
    assert (await waiting).outcome == "busy"


async def test_a_killed_worker_takes_its_compiles_along(patient: GrammarProcess) -> None:
    waiting = asyncio.create_task(patient.compile(json_constraint(SLOW)))
    await until(lambda: psutil.Process(patient.pid).children() != [])
    (child,) = psutil.Process(patient.pid).children()
    os.kill(patient.pid, signal.SIGKILL)
    with pytest.raises(WorkerDiedError):
        await waiting
    assert not patient.is_alive
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


async def test_a_tokenizer_that_the_backend_does_not_take_is_told() -> None:
    with pytest.raises(WorkerDiedError, match="Error"):
        await GrammarProcess.start(BackendSpec("guidance", "{}"), LIMITS)


async def test_it_ends_with_the_server(patient: GrammarProcess) -> None:
    """The socket is all that it has of the server; closed in whatever way, it and its children are gone."""
    waiting = asyncio.create_task(patient.compile(json_constraint(SLOW)))
    await until(lambda: psutil.Process(patient.pid).children() != [])
    (child,) = psutil.Process(patient.pid).children()
    assert patient._transport is not None
    patient._transport.abort()
    with pytest.raises(WorkerDiedError):
        await waiting
    async with asyncio.timeout(LIMIT_S):
        await asyncio.to_thread(patient._child.wait)
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_an_ambiguous_grammar_fails_before_a_token_takes_long() -> None:
    """Its parses multiply with each letter; compiled, it looks harmless."""
    tokenizer = llguidance.LLTokenizer(SPEC.tokenizer, eos_token=SPEC.eos_token_id)
    source = guidance_source("grammar", "start: a\na: a a a | a a | X\nX: /[a-z ]/\n", any_whitespace=False)
    matcher = llguidance.LLMatcher(tokenizer, source, log_level=0, limits=parser_limits())
    (letter,) = tokenizer.tokenize_str("a")
    accepted = 0
    while not matcher.is_error():
        matcher.compute_bitmask()
        accepted += matcher.consume_token(letter)
        assert accepted < 40
    assert accepted > 3
    assert "Too many items" in matcher.get_error()
