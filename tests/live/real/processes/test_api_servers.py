"""Two API servers on one port and one engine: what one server promises holds for both of them together."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import psutil
import pytest

from app.generation.replay.elsewhere import whereabouts_of
from tests.live.clients.channels import PATH, body, opened, text_of
from tests.live.servers.server import START_TIMEOUT_S, Server, start_server, stop_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2 * START_TIMEOUT_S),
    pytest.mark.skipif(sys.platform != "linux", reason="several API servers need Linux"),
]

NUMBERS = (0, 1)
TRIES = 64


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = start_server(
        "--api-server-count", "2", "--dtype", "float32", program="tests.live.servers.quick_api_servers"
    )
    yield server
    assert stop_server(server) == 0, "".join(server.log[-60:])


@asynccontextmanager
async def client(server: Server, number: int) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose only connection is to that API server. The system picks one for each connection."""
    for _ in range(TRIES):
        limits = httpx.Limits(max_connections=1, keepalive_expiry=None)
        async with httpx.AsyncClient(base_url=server.url, limits=limits, timeout=60) as one:
            found = (await one.post(PATH, json=body(max_tokens=1))).json()
            place = whereabouts_of(found["id"])
            if place is not None and place.number == number:
                yield one
                return
    pytest.fail(f"no connection led to API server {number}")


async def answer(server: Server, number: int) -> str:
    async with client(server, number) as one:
        found = (await one.post(PATH, json=body())).json()
    return str(found["choices"][0]["message"]["content"])


@asynccontextmanager
async def streams(server: Server, tokens: int = 1900) -> AsyncIterator[list[asyncio.Task[str]]]:
    """A long answer from each API server, all of which run; they end with what came of them."""

    async def read(number: int) -> str:
        async with (
            client(server, number) as one,
            one.stream("POST", PATH, json=body(max_tokens=tokens, stream=True)) as response,
        ):
            return (await response.aread()).decode()

    tasks = [asyncio.create_task(read(number)) for number in NUMBERS]
    try:
        await asyncio.to_thread(server.wait_until, lambda: both_run(server), 30, "the streams do not run")
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def both_run(server: Server) -> bool:
    return server.metric("vllm:num_requests_running") == len(NUMBERS)


def completed(server: Server) -> list[float]:
    """How many answers, by API server."""
    names = {"route": PATH, "outcome": "completed"}
    return [server.metric("twowire_requests_total", **names, api_server=number) for number in "01"]


def are_ready(server: Server) -> bool:
    """Each connection meets either."""
    return all(server.is_ready() for _ in range(16))


async def test_each_answers_alike_and_the_figures_of_both_are_shown_by_either(server: Server) -> None:
    texts = {await answer(server, number) for number in NUMBERS * 2}
    assert len(texts) == 1
    assert len(texts.pop()) > 20
    for number in NUMBERS:
        async with client(server, number) as one:
            shown = (await one.get("/metrics")).text
        assert 'api_server="0"' in shown
        assert 'api_server="1"' in shown
    # An answer is counted after its last byte.
    wait = (lambda: min(completed(server)) >= 2, 10, "the answers are not counted")
    await asyncio.to_thread(server.wait_until, *wait)
    assert server.metric("vllm:generation_tokens_total") >= 4 * 60


async def test_a_chat_is_resumed_whichever_of_them_the_connection_meets(server: Server) -> None:
    whole = await answer(server, 0)
    for _ in range(3):
        async with opened(server) as channel:
            stream = await channel.create(grace_s=60, max_tokens=60)
            await channel.until(lambda: len(channel.streams["a"].data) >= 10)
            await channel.cut()
        async with opened(server) as channel:
            rest = await channel.resume("rest", stream.id, stream.token, len(stream.data))
            await channel.finish()
        assert rest.done is not None
        assert rest.done["status"] == "completed"
        assert text_of(stream.data + rest.data) == whole


async def test_a_client_that_vanishes_ends_its_generation_in_the_engine_they_share(server: Server) -> None:
    async with streams(server):
        pass
    server.wait_idle(10)


async def test_when_the_engine_and_an_api_server_die_there_is_soon_another_of_each(server: Server) -> None:
    (core,) = (process for process in server.engine_processes() if "EngineCore" in " ".join(process.cmdline()))
    # Its parent is the fork server.
    (guest,) = (one for one in psutil.Process(server.process.pid).children() if one not in core.parents())
    before = await answer(server, 0)
    async with streams(server) as running:
        core.kill()
        for text in await asyncio.wait_for(asyncio.gather(*running), 10):
            assert "engine_died" in text
            assert text.endswith("data: [DONE]\n\n")
    guest.kill()
    await asyncio.to_thread(server.wait_until, lambda: are_ready(server), START_TIMEOUT_S, "there is no next engine")
    for number in NUMBERS:
        assert await answer(server, number) == before
    assert server.metric("twowire_engine_restarts", api_server="0") >= 1
    assert any('"api_server_ended"' in line for line in server.log)


async def test_told_to_stop_both_finish_what_runs(server: Server) -> None:
    processes = server.engine_processes()
    async with streams(server, 600) as running:
        server.process.send_signal(signal.SIGTERM)
        for text in await asyncio.gather(*running):
            assert text.endswith("data: [DONE]\n\n")
            assert '"finish_reason":"length"' in text
        assert await asyncio.to_thread(server.process.wait, 30) == 0
    assert not psutil.wait_procs(processes, timeout=10)[1], "processes were left behind"
