"""A grammar checker with a fake process."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import pytest

from engine.grammar.checker import GrammarChecker
from engine.grammar.constraint import BackendSpec, CompileLimits, Constraint, Verdict
from engine.grammar.process import WorkerDiedError
from protocol.errors import Fault, TwowireError

LIMITS = CompileLimits(cpu_s=2.0, memory_mib=256)
OK = Verdict("accepted", cpu_s=0.001)


class FakeProcess:
    """Compiles nothing; `end` says what came of the constraint with that text."""

    def __init__(self) -> None:
        self.is_alive = True
        self.compiled: list[str] = []
        self.running: dict[str, asyncio.Future[Verdict]] = {}
        self.cancelled: list[str] = []

    async def compile(self, constraint: Constraint) -> Verdict:
        text = constraint.text
        self.compiled.append(text)
        self.running[text] = asyncio.get_running_loop().create_future()
        try:
            return await self.running[text]
        except asyncio.CancelledError:
            self.cancelled.append(text)
            raise
        finally:
            del self.running[text]

    def die(self) -> None:
        self.is_alive = False
        for future in self.running.values():
            future.set_exception(WorkerDiedError("killed"))

    async def close(self) -> None:
        self.is_alive = False


class Harness:
    """A checker, the processes that it has started, and requests that wait in it."""

    def __init__(self) -> None:
        self.processes: list[FakeProcess] = []
        self.failures: deque[Exception] = deque()
        self.checker = GrammarChecker(BackendSpec("guidance", "byte"), LIMITS, self._start)

    async def _start(self, spec: BackendSpec, limits: CompileLimits) -> FakeProcess:
        if self.failures:
            raise self.failures.popleft()
        self.processes.append(FakeProcess())
        return self.processes[-1]

    async def ask(self, text: str, client: str = "a") -> asyncio.Task[None]:
        """A request that has gone as far as it can by itself."""
        task = asyncio.create_task(self.checker.check(Constraint("json", text), client, "schema"))
        await settled()
        return task

    @property
    def running(self) -> list[str]:
        return list(self.processes[-1].running)

    async def end(self, text: str, verdict: Verdict = OK) -> None:
        self.processes[-1].running[text].set_result(verdict)
        await settled()


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def fault_of(task: asyncio.Task[Any]) -> tuple[Fault, str]:
    with pytest.raises(TwowireError) as raised:
        await asyncio.wait_for(task, 5)
    return raised.value.fault, raised.value.message
