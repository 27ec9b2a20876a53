"""How a start of the text engine ends: with an engine, or with a reason that is read from what its processes wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from engine.api import EngineStartError, Progress, StageReport
from engine.config import GUIDE, EngineConfig
from engine.processes.output import Output
from engine.registry import text_engine
from tests.engine.startup.test_failure import DIED, output

CONFIG = EngineConfig(str(GUIDE))


class Recorded(Output):
    """Has these lines, and keeps what is shown of them."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines
        self.shown: list[str] = []
        self.holds = False
        self.reads: Callable[[str], bool] | None = None

    def hold(self, reads: Callable[[str], bool] | None = None) -> None:
        self.holds, self.reads = True, reads

    def release(self) -> list[str]:
        lines = self.lines if self.holds else []
        self.holds = False
        return lines

    def show(self, lines: Sequence[str]) -> None:
        self.shown += lines


async def start(
    monkeypatch: pytest.MonkeyPatch, recorded: Recorded, outcome: Any, report: StageReport = lambda *_: None
) -> Any:
    """What the factory gives where `engine.vllm.launch` gives or raises `outcome`."""

    async def start_vllm(*_: object, **options: object) -> Any:
        assert recorded.holds
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr("engine.registry.importlib.import_module", lambda name: SimpleNamespace(start_vllm=start_vllm))
    return await text_engine(CONFIG, output=recorded)(report)


async def test_of_a_start_that_went_well_only_errors_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded(["WARNING old", "ERROR broken"])
    assert await start(monkeypatch, recorded, "an engine") == "an engine"
    assert (recorded.shown, recorded.holds) == (["ERROR broken"], False)


async def test_the_cause_is_the_reason_and_its_traceback_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded(output("RuntimeError: the kernel is not there"))
    with pytest.raises(EngineStartError, match="RuntimeError: the kernel is not there"):
        await start(monkeypatch, recorded, DIED)
    assert recorded.shown[0].startswith("Traceback")
    assert not any("WorkerProc" in line for line in recorded.shown)
    assert not recorded.holds


async def test_a_known_cause_needs_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded(output("ValueError: No available memory for the cache blocks."))
    with pytest.raises(EngineStartError, match=r"^--gpu-memory-utilization: "):
        await start(monkeypatch, recorded, DIED)
    assert (recorded.shown, recorded.holds) == ([], False)


async def test_a_wrong_configuration_is_said_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Recorded(["WARNING old"])
    with pytest.raises(EngineStartError, match="--model: no"):
        await start(monkeypatch, recorded, EngineStartError("--model: no"))
    assert (recorded.shown, recorded.holds) == ([], False)


async def test_the_progress_that_the_processes_write_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded, reported = Recorded([]), list[tuple[object, ...]]()
    await start(monkeypatch, recorded, "an engine", lambda *what: reported.append(what))
    assert recorded.reads is not None
    # From the thread that reads the output.
    assert not await asyncio.to_thread(recorded.reads, "WARNING old")
    assert await asyncio.to_thread(recorded.reads, "Loading pt checkpoint shards:  50% Completed | 1/2 [00:01<00:01]")
    await asyncio.sleep(0)
    assert reported[-1] == ("loading the model", Progress(1, 2, "files"))
