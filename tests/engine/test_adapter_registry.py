"""Adapters in a running engine: loading, replacing, unloading in use, a new engine. On a fake engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from engine.adapter_registry import Adapters
from engine.adapters.api import AdapterError
from engine.adapters.config import AdapterConfig
from engine.adapters.start import own_copies
from engine.admission.admission import AdmissionLimits
from engine.config import GUIDE
from engine.generation import Generation
from engine.manager import EngineManager
from engine.supervisor import EngineState
from protocol.errors import Fault, TwowireError
from protocol.generation import ChatPrompt, GenerationRequest, Sampling
from tests.engine.adapters.made import make_adapter
from tests.engine.fakes import FakeEngine, FakeFactory

CHAT = GenerationRequest(ChatPrompt([{"role": "user", "content": "hi"}]), Sampling())


class Bench:
    """A manager with adapters, on a fake engine whose answers do not end by themselves."""

    def __init__(self, config: AdapterConfig, running: int = 8) -> None:
        self.factory = FakeFactory(ends=False)
        self.adapters = Adapters(config, str(GUIDE))
        self.manager = EngineManager(
            self.factory, AdmissionLimits(running, 8), backoff_first_s=0.01, adapters=self.adapters
        )

    @property
    def engine(self) -> FakeEngine:
        return self.factory.engines[-1]

    @property
    def in_engine(self) -> list[str]:
        return [adapter.engine_name for adapter in self.engine.adapters.values()]

    @property
    def folders(self) -> list[str]:
        assert self.adapters.config.folder is not None
        return sorted(path.name for path in self.adapters.config.folder.iterdir())

    async def run(self, name: str | None) -> Generation:
        return await self.manager.run(await self.manager.prepare(replace(CHAT, adapter=name)))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110  # what it looks at has no event
                await asyncio.sleep(0.001)


@asynccontextmanager
async def bench(tmp_path: Path, *names: str, limit: int = 3, running: int = 8) -> AsyncIterator[Bench]:
    """With an adapter for each of the `names`."""
    given = tuple(f"{name}={make_adapter(tmp_path / name)}" for name in names)
    options = AdapterConfig(lora=given, enable_lora=True, max_cpu_loras=limit, can_change=True)
    with own_copies(options, str(GUIDE)) as config:
        made = Bench(config, running)
        made.manager.start()
        await made.manager.wait_settled()
        yield made
        await made.manager.stop()
    assert config.folder is not None
    assert not config.folder.exists()


async def refused(work: object) -> TwowireError:
    with pytest.raises(TwowireError) as caught:
        await work  # type: ignore[misc]  # any awaitable
    return caught.value


async def test_those_named_are_loaded_before_the_engine_is_ready(tmp_path: Path) -> None:
    async with bench(tmp_path, "sql", "law") as made:
        assert made.in_engine == ["sql@1", "law@2"]
        async with await made.run("law"), await made.run(None):
            used = [adapter.name if adapter else None for adapter in made.engine.used]
            assert used == ["law", None]


async def test_one_that_the_engine_refuses_stops_the_first_start(tmp_path: Path) -> None:
    options = AdapterConfig(lora=(f"sql={make_adapter(tmp_path / 'a')}",))
    with own_copies(options, str(GUIDE)) as config:
        made = Bench(config)

        class Refusing(FakeEngine):
            async def load_adapter(self, adapter: object) -> None:
                raise AdapterError("it is odd")

        made.factory = FakeFactory(engine=Refusing)
        made.manager = EngineManager(made.factory, AdmissionLimits(1, 1), adapters=made.adapters)
        made.manager.start()
        await made.manager.wait_settled()
        assert made.manager.state is EngineState.FAILED
        assert made.manager.reason == "--lora: 'sql' cannot be loaded: it is odd"
        assert made.engine.closed


def test_one_that_is_broken_stops_the_start_with_a_line_that_names_it(tmp_path: Path) -> None:
    make_adapter(tmp_path / "many" / "good")
    make_adapter(tmp_path / "many" / "bad", r=-1)
    with (
        pytest.raises(AdapterError, match=r"--lora-dir: 'bad': adapter_config.json: r must be"),
        own_copies(AdapterConfig(lora_dir=tmp_path / "many"), str(GUIDE)),
    ):
        pass


async def test_one_loaded_later_is_served_and_may_be_replaced(tmp_path: Path) -> None:
    async with bench(tmp_path, "sql") as made:
        new = make_adapter(tmp_path / "new", seed=2)
        assert (await made.adapters.load("law", str(new))).id == 2
        error = await refused(made.adapters.load("law", str(new)))
        assert (error.fault, error.param) == (Fault.INVALID_ADAPTER, "lora_name")
        assert (await made.adapters.load("law", str(new), replaces=True)).id == 3
        assert made.in_engine == ["sql@1", "law@3"]
        assert made.folders == ["1", "3"]


async def test_one_in_use_is_dropped_when_its_last_request_has_ended(tmp_path: Path) -> None:
    async with bench(tmp_path, "sql", running=1) as made:
        running = await made.run("sql")
        waiting = await made.run("sql")
        await made.adapters.unload("sql")
        assert (await refused(made.run("sql"))).fault is Fault.MODEL_NOT_FOUND
        assert made.in_engine == ["sql@1"]
        reading = asyncio.create_task(anext(waiting))
        await running.close()
        await made.until(lambda: len(made.engine.opened) == 2)
        assert made.in_engine == ["sql@1"]
        reading.cancel()
        await waiting.close()
        await made.until(lambda: made.in_engine == [])
        assert made.folders == ["1"], "a new API server 0 loads again what was named at the start"


async def test_a_request_that_was_prepared_before_its_adapter_went_is_refused(tmp_path: Path) -> None:
    async with bench(tmp_path, "sql") as made:
        prepared = await made.manager.prepare(replace(CHAT, adapter="sql"))
        await made.adapters.load("sql", str(tmp_path / "sql"), replaces=True)
        assert (await refused(made.manager.run(prepared))).fault is Fault.MODEL_NOT_FOUND
        assert made.manager.sequences == 0


async def test_there_are_no_more_than_the_engine_has_places_for(tmp_path: Path) -> None:
    async with bench(tmp_path, "a", "b", limit=2) as made:
        another = str(make_adapter(tmp_path / "another"))
        error = await refused(made.adapters.load("c", another))
        assert (error.fault, "2 adapters are loaded" in error.message) == (Fault.INVALID_ADAPTER, True)
        running = await made.run("a")
        await made.adapters.load("a", another, replaces=True)
        assert len(made.in_engine) == 3
        # Its predecessor still has the spare place.
        assert "still in use" in (await refused(made.adapters.load("a", another, replaces=True))).message
        await running.close()
        await made.until(lambda: len(made.in_engine) == 2)
        await made.adapters.load("a", another, replaces=True)
        assert len(made.in_engine) == 2


async def test_one_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path) as made:
        folder = make_adapter(tmp_path / "sql")
        bad = make_adapter(tmp_path / "bad", r=3)
        made.engine.adapter_problem = AdapterError("the worker says no")
        for name, path, param in (
            ("sql", folder, "lora_path"),
            ("sql", bad, "lora_path"),
            ("guide", folder, "lora_name"),
            ("a b", folder, "lora_name"),
        ):
            error = await refused(made.adapters.load(name, str(path), is_taken=lambda name: name == "guide"))
            assert (error.fault, error.param) == (Fault.INVALID_ADAPTER, param)
        assert (made.folders, made.adapters.by_name) == ([], {})
        made.engine.adapter_problem = None
        await made.adapters.load("sql", str(folder))
        assert (await refused(made.adapters.unload("law"))).fault is Fault.MODEL_NOT_FOUND


async def test_a_load_goes_on_when_its_client_leaves(tmp_path: Path) -> None:
    async with bench(tmp_path) as made:
        task = asyncio.create_task(made.adapters.load("sql", str(make_adapter(tmp_path / "sql"))))
        await asyncio.sleep(0)
        task.cancel()
        await made.until(lambda: "sql" in made.adapters.by_name)
        assert made.in_engine == ["sql@1"]


async def test_a_new_engine_gets_them_all_before_it_is_ready(tmp_path: Path) -> None:
    async with bench(tmp_path, "sql", "law") as made:
        running = await made.run("sql")
        await made.adapters.unload("law")
        made.engine.kill()
        await running.close()
        await made.until(lambda: len(made.factory.engines) == 2 and made.manager.is_ready)
        assert made.in_engine == ["sql@1"]
        await made.adapters.load("law", str(tmp_path / "law"))
        assert made.in_engine == ["sql@1", "law@3"]


async def test_one_that_a_new_engine_refuses_is_lost_and_the_server_goes_on(tmp_path: Path) -> None:
    async with bench(tmp_path, "sql") as made:

        class Refusing(FakeEngine):
            async def load_adapter(self, adapter: object) -> None:
                raise AdapterError("it is odd")

        made.factory._engine = Refusing
        made.engine.kill()
        await made.until(lambda: len(made.factory.engines) == 2 and made.manager.is_ready)
        assert (await refused(made.run("sql"))).fault is Fault.MODEL_NOT_FOUND
        async with await made.run(None):
            pass
