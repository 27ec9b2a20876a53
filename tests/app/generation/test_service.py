"""The one way in: what it holds when something goes wrong, and that there is no other."""

from __future__ import annotations

import ast
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import app
from app.generation.api import GenerationApi
from app.generation.replay.reader import ReplayReader
from app.generation.stream import LiveStream
from app.generation.table import CHAT, COMPLETIONS, RESPONSES
from app.observability.outcome import Wire
from app.security.caller import Caller
from engine.adapters.api import Adapter
from engine.generation import Generation
from protocol.errors import Fault, TwowireError
from protocol.generation import ChatPrompt
from protocol.validation.parse import request_from_object
from tests.app.channel.channels import Harness, open_harness
from tests.engine.fakes import words

CALLER = Caller("a-key", "a-key")
MESSAGES = {"messages": [{"role": "user", "content": "hi"}]}


class Transport:
    """Notes what the service tells it."""

    def __init__(self, wire: Wire = "sse", *, waits_for_first_step: bool = True) -> None:
        self.wire = wire
        self.waits_for_first_step = waits_for_first_step
        self.models: list[str] = []
        self.adopted: list[Generation] = []

    def note_model(self, name: str) -> None:
        self.models.append(name)

    async def adopt(self, generation: Generation) -> None:
        self.adopted.append(generation)


def body_of(api: GenerationApi[Any], **fields: Any) -> Any:
    prompt = MESSAGES if api is CHAT else {"prompt": "hi"}
    return request_from_object(api.request, {"model": "guide", **prompt, **fields})


async def start(harness: Harness, transport: Transport, api: GenerationApi[Any] = CHAT, **more: Any) -> Any:
    return await harness.services.generation.start(api, body_of(api, stream=True), CALLER, transport, **more)


def calls_of(path: Path) -> set[str]:
    """The methods of an engine manager that a file calls or names, as it is called everywhere: `manager`."""
    tree = ast.parse(path.read_text("utf-8"))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).rpartition(".")[2].lstrip("_") == "manager"
    }


def test_nothing_else_calls_the_managers_prepare_and_run() -> None:
    folder = Path(app.__file__).parent
    files = [path for path in folder.rglob("*.py") if {"prepare", "run"} & calls_of(path)]
    callers = {path.relative_to(folder).as_posix() for path in files}
    assert callers == {"generation/service.py", "generation/truncation.py"}


@pytest.mark.parametrize("api", [CHAT, COMPLETIONS])
async def test_a_stream_and_a_whole_body_have_the_apis_own_form(api: GenerationApi[Any]) -> None:
    async with open_harness(steps=words("a", "b"), ends=True) as harness:
        transport = Transport()
        stream = await start(harness, transport, api)
        assert isinstance(stream, LiveStream)
        assert stream.id.startswith(api.id_prefix)
        assert transport.models == ["guide"]
        assert transport.adopted == [stream.generation]
        await stream.leave()
        whole = await harness.services.generation.collect(api, body_of(api), CALLER, Transport("http"))
        assert b'"id":"' + api.id_prefix.encode() in whole


async def test_the_engine_gets_the_neutral_request() -> None:
    async with open_harness(steps=words("a"), ends=True) as harness:
        await (await start(harness, Transport())).leave()
        (request,) = harness.engine.prepared
        assert request.prompt == ChatPrompt(MESSAGES["messages"])
        assert request.is_streamed


async def test_a_model_that_is_not_served_is_refused_before_anything_is_noted() -> None:
    async with open_harness() as harness:
        transport, unknown = Transport(), body_of(CHAT, model="other")
        with pytest.raises(TwowireError) as refused:
            await harness.services.generation.start(CHAT, unknown, CALLER, transport)
        assert refused.value.fault is Fault.MODEL_NOT_FOUND
        assert (transport.models, harness.engine.prepared) == ([], [])


async def test_only_a_transport_that_asks_for_it_waits_for_the_first_step() -> None:
    async with open_harness() as harness:
        # Its engine says nothing: it would wait for good.
        stream = await start(harness, Transport("websocket", waits_for_first_step=False))
        assert harness.manager.sequences == 1
        await stream.leave()


async def test_a_grace_puts_the_stream_into_a_replay_buffer() -> None:
    async with open_harness() as harness:
        stream = await start(harness, Transport("websocket", waits_for_first_step=False), grace_s=5)
        assert isinstance(stream, ReplayReader)
        assert len(harness.replays) == 1
        await stream.leave()
        assert harness.manager.sequences == 1


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_an_api_that_fails_leaves_nothing_behind(is_streamed: bool) -> None:
    def fail(*arguments: Any) -> Any:
        raise ZeroDivisionError

    async with open_harness() as harness:
        service, transport = harness.services.generation, Transport()
        broken, body = replace(CHAT, encoder=fail, collector=fail), body_of(CHAT, stream=is_streamed)
        begin = service.start if is_streamed else service.collect
        with pytest.raises(ZeroDivisionError):
            await begin(broken, body, CALLER, transport)
        assert transport.adopted[0].outcome == "cancelled"
        assert harness.manager.sequences == 0


@pytest.mark.parametrize("is_kept", [True, False])
async def test_an_api_that_fails_leaves_nothing_behind_where_only_the_prompt_is_read(is_kept: bool) -> None:
    def fail(*arguments: Any) -> Any:
        raise ZeroDivisionError

    async with open_harness() as harness:
        service, transport = harness.services.generation, Transport()
        begin: Callable[..., Awaitable[Any]] = service.prepare_only if is_kept else service.prefill
        api: GenerationApi[Any] = RESPONSES if is_kept else CHAT
        body = body_of(CHAT) if api is CHAT else request_from_object(api.request, {"model": "guide", "input": "hi"})
        with pytest.raises(ZeroDivisionError):
            await begin(replace(api, encoder=fail), body, CALLER, transport)
        assert transport.adopted[0].outcome == "cancelled"
        assert harness.manager.sequences == 0


async def test_the_prompt_of_an_adapter_is_computed_with_it() -> None:
    async with open_harness(steps=words("a"), ends=True) as harness:
        adapters = harness.manager.adapters
        adapters.by_name["sql"] = Adapter("sql", 1, Path(), "", 8)
        await adapters.start(harness.engine)
        body = request_from_object(RESPONSES.request, {"model": "sql", "input": "hi"})
        stream = await harness.services.generation.prepare_only(RESPONSES, body, CALLER, Transport("websocket"))
        assert harness.engine.used == [adapters.by_name["sql"]]
        await stream.leave()


async def test_what_the_engine_refuses_costs_no_tokens() -> None:
    async with open_harness(flags=["--tokens-per-minute", "1000"]) as harness:
        harness.engine.refusal = TwowireError(Fault.INVALID_VALUE, "no")
        with pytest.raises(TwowireError):
            await start(harness, Transport())
        (tokens,) = await harness.services.rates.standing(CALLER.client)
        assert tokens["remaining"] == 1000


@pytest.mark.parametrize("flags", [(), ("--cache-salt-per-key",)])
async def test_callers_share_cached_prompts_unless_each_key_has_its_salt(flags: tuple[str, ...]) -> None:
    async with open_harness(steps=words("a"), ends=True, flags=flags) as harness:
        salts = []
        for caller in (CALLER, CALLER, Caller("another", "another"), Caller(None, "127.0.0.1")):
            for salt in (None, "s"):
                body = body_of(CHAT, cache_salt=salt)
                await harness.services.generation.collect(CHAT, body, caller, Transport("http"))
                salts.append(harness.engine.prepared[-1].extras.cache_salt)
        if not flags:
            assert salts == [None, "s"] * 4
        else:
            assert salts[:2] == salts[2:4]
            assert len(set(salts)) == 6
            assert not any(salt is None or CALLER.client in salt for salt in salts)
