"""The engine's processes are killed under load: every request ends with an error, and the server recovers by itself.

The processes are children of the shared server; only those are touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
import pytest

from tests.live.servers.server import MODEL, START_TIMEOUT_S, Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * START_TIMEOUT_S)]

STREAMS = 20
WHOLES = 10
END_WITHIN_S = 5.0
MAX_GROWTH_BYTES = 64 * 1024 * 1024
CHAT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Tell me."}]}
LONG = CHAT | {"max_tokens": 1900, "ignore_eos": True}
GREEDY = CHAT | {"max_tokens": 24, "temperature": 0}


@dataclass
class Outcome:
    """How one request went."""

    stream: bool
    status: int = 0
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    text: str = ""
    ended_at: float = 0.0

    @property
    def has_tokens(self) -> bool:
        return self.text.count("data: ") > 1


class Load:
    """Long requests that run at once, streamed and whole."""

    def __init__(self, server: Server, **fields: Any) -> None:
        self._body = LONG | fields
        self.outcomes = [Outcome(stream=number < STREAMS) for number in range(STREAMS + WHOLES)]
        self._server = server
        self._client = httpx.AsyncClient(base_url=server.url, timeout=60, limits=httpx.Limits(max_connections=None))
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        self._tasks = [asyncio.create_task(self._ask(outcome)) for outcome in self.outcomes]
        async with asyncio.timeout(60):
            while not await self._all_run():
                assert not any(task.done() for task in self._tasks), "a request ended before the kill"
                await asyncio.sleep(0.02)  # Between two questions.
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()

    async def _all_run(self) -> bool:
        if not all(outcome.has_tokens for outcome in self.outcomes if outcome.stream):
            return False
        running = await asyncio.to_thread(self._server.metric, "twowire_generations_running")
        return running == len(self.outcomes)

    async def _ask(self, outcome: Outcome) -> None:
        body = self._body | {"stream": outcome.stream}
        async with self._client.stream("POST", "/v1/chat/completions", json=body) as response:
            outcome.status, outcome.headers = response.status_code, response.headers
            async for text in response.aiter_text():
                outcome.text += text
        outcome.ended_at = time.monotonic()

    async def wait_ended(self, limit_s: float) -> None:
        _, running = await asyncio.wait(self._tasks, timeout=limit_s)
        assert not running, f"{len(running)} requests hang"
        for task in self._tasks:
            task.result()


def cores_of(server: Server) -> list[psutil.Process]:
    """The engine cores, by the title that vLLM gives them."""
    found = []
    for child in server.engine_processes():
        with contextlib.suppress(psutil.NoSuchProcess):  # It ends meanwhile, or has ended.
            if "EngineCore" in " ".join(child.cmdline()):
                found.append(child)
    return found


def find_core(server: Server) -> psutil.Process:
    """The engine core, where there is one."""
    (core,) = cores_of(server)
    return core


def find_worker(server: Server) -> psutil.Process:
    """The worker: the engine core's child."""
    workers = [child for child in find_core(server).children() if "resource_tracker" not in " ".join(child.cmdline())]
    assert len(workers) == 1, workers
    return workers[0]


def assert_ended_with_an_error(outcome: Outcome) -> None:
    if not outcome.stream:
        assert outcome.status == 503
        assert int(outcome.headers["retry-after"]) >= 1
        error = json.loads(outcome.text)["error"]
    else:
        assert outcome.status == 200
        events = [event for event in outcome.text.split("\n\n") if event.startswith("data: ")]
        assert events[-1] == "data: [DONE]"
        error = json.loads(events[-2].removeprefix("data: "))["error"]
        assert not any('"error"' in event for event in events[:-2])
    assert error["code"] == "engine_died"
    assert error["type"] == "server_error"
    assert error["message"]


def health(server: Server) -> tuple[int, dict[str, Any]]:
    response = httpx.get(f"{server.url}/health", timeout=30)
    return response.status_code, response.json()


def assert_refuses_while_restarting(server: Server) -> None:
    server.wait_until(lambda: health(server)[0] == 503, END_WITHIN_S, "/health still says that all is well")
    status, body = health(server)
    assert (status, body["state"]) == (503, "restarting")
    assert body["reason"]
    assert httpx.get(f"{server.url}/livez", timeout=5).status_code == 200
    for stream in (False, True):
        refused = httpx.post(f"{server.url}/v1/chat/completions", json=GREEDY | {"stream": stream}, timeout=30)
        assert refused.status_code == 503, refused.text
        assert refused.json()["error"]["code"] == "engine_not_ready"
        assert int(refused.headers["retry-after"]) >= 1


def wait_serving(server: Server) -> tuple[float, float]:
    """Wait until it is ready again; the seconds that took, and the slowest answer of /livez meanwhile."""
    slowest_s = 0.0

    def is_ready() -> bool:
        nonlocal slowest_s
        asked_at = time.monotonic()
        assert httpx.get(f"{server.url}/livez", timeout=30).status_code == 200
        slowest_s = max(slowest_s, time.monotonic() - asked_at)
        return server.is_ready()

    return server.wait_until(is_ready, START_TIMEOUT_S, "the engine did not come back"), slowest_s


def greedy_text(server: Server) -> str:
    response = httpx.post(f"{server.url}/v1/chat/completions", json=GREEDY, timeout=60)
    assert response.status_code == 200, response.text
    text = response.json()["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    assert len(text) > 8
    return text


def assert_gone(processes: list[psutil.Process], server: Server) -> None:
    server.wait_until(lambda: not any(old.is_running() for old in processes), 10, f"left behind: {processes}")
    zombies = [child for child in server.engine_processes() if child.status() == psutil.STATUS_ZOMBIE]
    assert not zombies


@pytest.mark.parametrize("find_victim", [find_core, find_worker], ids=["engine core", "worker"])
async def test_a_killed_process_ends_every_request_and_is_replaced(
    server: Server, find_victim: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    text, this = greedy_text(server), psutil.Process(server.process.pid)
    old, restarts = [find_core(server), find_worker(server)], server.metric("twowire_engine_restarts")
    async with Load(server) as load:
        rss = this.memory_info().rss
        killed_at = time.monotonic()
        find_victim(server).kill()
        await load.wait_ended(END_WITHIN_S)
    last_end_s = max(outcome.ended_at for outcome in load.outcomes) - killed_at
    for outcome in load.outcomes:
        assert_ended_with_an_error(outcome)
    await asyncio.to_thread(assert_refuses_while_restarting, server)
    _, slowest_s = await asyncio.to_thread(wait_serving, server)
    back_s = time.monotonic() - killed_at
    growth = this.memory_info().rss - rss
    with capsys.disabled():
        print(
            f"\n{find_victim.__name__[5:]} killed: {len(load.outcomes)} requests ended within {last_end_s:.2f} s,"
            f" served again after {back_s:.1f} s, slowest /livez {slowest_s:.2f} s, memory {growth / 2**20:+.0f} MiB"
        )
    assert greedy_text(server) == text
    assert server.metric("twowire_engine_restarts") == restarts + 1
    server.wait_idle()
    assert_gone(old, server)
    assert growth < MAX_GROWTH_BYTES
    counted = server.metric("twowire_refusals_total", reason="engine_died")
    assert counted >= WHOLES


async def test_told_to_end_it_ends_every_request_with_an_error_too(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """vLLM then aborts all requests, which must not look complete. The next engine is killed while it starts."""
    text, restarts = await asyncio.to_thread(greedy_text, server), server.metric("twowire_engine_restarts")
    first = [find_core(server), find_worker(server)]
    async with Load(server, n=2) as load:
        killed_at = time.monotonic()
        first[0].terminate()
        await load.wait_ended(2 * END_WITHIN_S)
    for outcome in load.outcomes:
        assert_ended_with_an_error(outcome)
    await asyncio.to_thread(assert_started_once_more, server, first, killed_at, restarts, capsys)
    assert await asyncio.to_thread(greedy_text, server) == text


def assert_started_once_more(
    server: Server, first: list[psutil.Process], killed_at: float, restarts: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """The engine that replaces `first` is killed while it starts, and another one serves."""

    def second_core() -> psutil.Process | None:
        cores = [one for one in cores_of(server) if one not in first]
        return cores[0] if cores else None

    server.wait_until(lambda: second_core() is not None, START_TIMEOUT_S, "no second engine was started")
    second = second_core()
    assert second is not None
    # In the middle of its start: it has started a process of its own.
    server.wait_until(second.children, START_TIMEOUT_S, "the second engine starts no worker")
    assert not server.is_ready()
    doomed = [second, *second.children(recursive=True)]
    second.kill()
    server.wait_until(lambda: server.metric("twowire_engine_restarts") >= restarts + 2, 30, "the death went unseen")
    assert_refuses_while_restarting(server)
    wait_serving(server)
    with capsys.disabled():
        print(f"\ntold to end, and killed in its next start: served again after {time.monotonic() - killed_at:.1f} s")
    assert server.metric("twowire_engine_restarts") == restarts + 2
    assert_gone(first + doomed, server)
