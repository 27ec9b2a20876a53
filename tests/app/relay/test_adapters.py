"""Adapters that change while several API servers run: all serve the same, and none is dropped too early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from app.config.channel import ResumeLimits
from app.generation.replay.elsewhere import Whereabouts
from app.generation.replay.store import ReplayStore
from app.relay.adapters import ADAPTERS, AdapterFollower, AdapterLeader
from app.relay.listener import RelayListener
from engine.adapter_registry import Adapters
from engine.adapters.config import AdapterConfig
from engine.adapters.start import own_copies
from engine.admission.admission import AdmissionLimits
from engine.config import GUIDE
from engine.generation import Generation
from engine.manager import EngineManager
from engine.sharing.meeting import Meeting
from protocol.errors import Fault, TwowireError
from protocol.generation import ChatPrompt, GenerationRequest, Sampling
from tests.engine.adapters.made import make_adapter
from tests.engine.fakes import FakeFactory

CHAT = GenerationRequest(ChatPrompt([{"role": "user", "content": "hi"}]), Sampling())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # what it looks at has no event
            await asyncio.sleep(0.005)


class ApiServer:
    """One with an engine of its own, whose answers do not end by themselves."""

    def __init__(self, config: AdapterConfig) -> None:
        self.factory = FakeFactory(ends=False)
        self.adapters = Adapters(config, str(GUIDE))
        self.manager = EngineManager(self.factory, AdmissionLimits(8, 8), backoff_first_s=0.01, adapters=self.adapters)

    @property
    def names(self) -> list[str]:
        return [adapter.engine_name for adapter in self.adapters.by_name.values()]

    @property
    def in_engine(self) -> list[str]:
        return [adapter.engine_name for adapter in self.factory.engines[-1].adapters.values()]

    async def run(self, name: str) -> Generation:
        return await self.manager.run(await self.manager.prepare(replace(CHAT, adapter=name)))


class Two:
    """API server 0 and another one."""

    def __init__(self, config: AdapterConfig, meeting: Meeting) -> None:
        self._config, self._meeting = config, meeting
        self.other = ApiServer(config)
        self.follower = AdapterFollower(self.other.adapters, meeting.path)
        self.following = asyncio.create_task(self.follower.run())
        self.begin()

    def begin(self) -> None:
        """A life of API server 0."""
        self.first = ApiServer(self._config)
        self.leader = AdapterLeader(self.first.adapters, lambda name: name == "guide")
        self._listener = RelayListener(ReplayStore(ResumeLimits()), Whereabouts.new_server())
        self._listener.served[ADAPTERS] = self.leader.serve
        self._serving = asyncio.create_task(self._listener.serve_unix(self._meeting))

    async def start(self, *servers: ApiServer) -> None:
        for one in servers:
            one.manager.start()
        for one in servers:
            await one.manager.wait_settled()

    async def end(self) -> None:
        """End API server 0."""
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)
        await self._listener.close()
        await self.first.manager.stop()

    async def end_other(self) -> None:
        self.following.cancel()
        await asyncio.gather(self.following, return_exceptions=True)
        await self.other.manager.stop()


@asynccontextmanager
async def two(tmp_path: Path, *names: str) -> AsyncIterator[Two]:
    given = tuple(f"{name}={make_adapter(tmp_path / name)}" for name in names)
    options = AdapterConfig(lora=given, enable_lora=True, max_cpu_loras=3, can_change=True)
    with own_copies(options, str(GUIDE)) as config, Meeting.at(tmp_path / "relay") as meeting:
        made = Two(config, meeting)
        await made.start(made.other, made.first)
        try:
            yield made
        finally:
            await made.end_other()
            await made.end()


@pytest.fixture
def law(tmp_path: Path) -> str:
    return str(make_adapter(tmp_path / "law"))


async def test_either_loads_for_both(tmp_path: Path, law: str) -> None:
    async with two(tmp_path, "sql") as made:
        await made.follower.load("law", law, replaces=False)
        assert made.first.names == made.other.names == made.first.in_engine == ["sql@1", "law@2"]
        async with await made.first.run("law"), await made.other.run("law"):
            pass
        await made.leader.load("tax", law, replaces=False)
        assert made.other.names == made.first.in_engine == ["sql@1", "law@2", "tax@3"]
        await made.follower.unload("sql")
        assert made.other.names == made.first.names == ["law@2", "tax@3"]
        await until(lambda: made.first.in_engine == ["law@2", "tax@3"])


async def test_a_request_of_the_other_keeps_its_adapter_in_the_engine(tmp_path: Path, law: str) -> None:
    async with two(tmp_path, "sql") as made:
        await made.leader.load("law", law, replaces=False)
        async with await made.other.run("law") as generation:
            await made.leader.load("law", law, replaces=True)
            assert made.other.names == ["sql@1", "law@3"]
            await made.leader.unload("law")
            assert made.first.names == made.other.names == ["sql@1"]
            await until(lambda: made.first.in_engine == ["sql@1", "law@2"])
            folder = generation.adapter.folder if generation.adapter else Path()
            assert folder.is_dir()
        await until(lambda: made.first.in_engine == ["sql@1"])
        await until(lambda: not folder.exists())


async def test_what_an_api_server_that_ends_needed_is_dropped(tmp_path: Path) -> None:
    async with two(tmp_path, "sql") as made:
        await made.other.run("sql")
        await made.leader.unload("sql")
        assert made.first.in_engine == ["sql@1"]
        made.following.cancel()
        await until(lambda: made.first.in_engine == [])


async def test_a_refusal_reaches_whoever_asked_the_other(tmp_path: Path, law: str) -> None:
    async with two(tmp_path, "sql") as made:
        for name, source, fault, param in (
            ("law", str(tmp_path / "nowhere"), Fault.INVALID_ADAPTER, "lora_path"),
            ("guide", law, Fault.INVALID_ADAPTER, "lora_name"),
            ("sql", law, Fault.INVALID_ADAPTER, "lora_name"),
        ):
            with pytest.raises(TwowireError) as caught:
                await made.follower.load(name, source, replaces=False)
            assert (caught.value.fault, caught.value.param) == (fault, param)
        with pytest.raises(TwowireError) as caught:
            await made.follower.unload("law")
        assert caught.value.fault is Fault.MODEL_NOT_FOUND
        assert made.other.names == made.first.in_engine == ["sql@1"]


async def test_a_new_first_api_server_begins_again(tmp_path: Path, law: str) -> None:
    async with two(tmp_path, "sql") as made:
        await made.follower.load("law", law, replaces=False)
        await made.end()
        await until(lambda: made.other.adapters.is_mirror and made.follower._writer is None)
        with pytest.raises(TwowireError) as caught:
            await made.follower.unload("law")
        assert caught.value.fault is Fault.ENGINE_NOT_READY
        made.begin()
        await made.start(made.first)
        await until(lambda: made.other.names == ["sql@1"])
        await made.follower.load("law", law, replaces=False)
        assert made.other.names == made.first.in_engine == ["sql@1", "law@3"], "no id comes twice"


async def test_a_new_first_api_server_finds_the_files_of_what_was_unloaded(tmp_path: Path) -> None:
    async with two(tmp_path, "sql") as made:
        (named,) = made.first.adapters.config.loaded
        await made.leader.unload("sql")
        assert made.first.in_engine == []
        await made.end()
        await until(lambda: made.follower._writer is None)
        assert (named.folder / "adapter_config.json").is_file()
        made.begin()
        await made.start(made.first)
        await until(lambda: made.other.names == made.first.in_engine == ["sql@1"])


async def test_one_that_starts_later_serves_what_was_loaded_meanwhile(tmp_path: Path, law: str) -> None:
    async with two(tmp_path, "sql") as made:
        await made.leader.load("law", law, replaces=False)
        await made.leader.unload("sql")
        late = ApiServer(made._config)
        following = asyncio.create_task(AdapterFollower(late.adapters, made._meeting.path).run())
        await made.start(late)
        assert late.names == late.in_engine == ["law@2"]
        following.cancel()
        await late.manager.stop()
