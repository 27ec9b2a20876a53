"""The server behind the real nginx and the real Caddy, as docs/deployment.md says, HTTP/2 at the edge."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.certificates import make_certificate
from tests.live.browser.pages import Cable, opened
from tests.live.servers.held import Leash
from tests.live.servers.ports import unused_port
from tests.live.servers.programs.proxies import PREFIX, PROXIES, Proxy, Setup
from tests.live.servers.server import MODEL, Server, start_fake_server, stop_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAST = 300
QUESTION = f"Count from 1 to {LAST}"
MANY = 10**9


@dataclass(frozen=True)
class Proxied:
    server: Server
    cable: Cable
    leash: Leash
    url: str
    certfile: Path

    def client(self) -> httpx.AsyncClient:
        verify = ssl.create_default_context(cafile=self.certfile)
        return httpx.AsyncClient(base_url=self.url, verify=verify, timeout=60, http2=True)


@pytest.fixture(scope="module", params=PROXIES, ids=lambda proxy: proxy.name)
def proxy(request: pytest.FixtureRequest) -> Proxy:
    proxy: Proxy = request.param
    if proxy.program is None:
        pytest.skip(f"{proxy.name} is not installed; on Debian: apt-get install {proxy.package}")
    return proxy


@pytest.fixture(scope="module")
def server_and_leash(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Leash]]:
    leash = Leash(tmp_path_factory.mktemp("leash") / "tokens")
    leash.reaches(MANY)
    # Each proxy has a port of its own, and the real command names its address.
    server = start_fake_server("--cors-origins", "*", env={"FAKE_PACE_S": "0.002", "FAKE_LEASH": str(leash.path)})
    yield server, leash
    assert stop_server(server) == 0, "".join(server.log[-60:])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def at_root(
    proxy: Proxy, server_and_leash: tuple[Server, Leash], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Proxied]:
    server, leash = server_and_leash
    folder = tmp_path_factory.mktemp(proxy.name)
    certfile, keyfile = make_certificate(folder)
    async with Cable(server.url) as cable:
        port = unused_port()
        with proxy.running(folder, Setup(port, cable.url, certfile, keyfile)):
            yield Proxied(server, cable, leash, f"https://localhost:{port}", certfile)


@pytest.fixture(params=["", PREFIX], ids=["root", "path"])
def proxied(request: pytest.FixtureRequest, at_root: Proxied) -> Proxied:
    at_root.leash.reaches(MANY)
    prefix: str = request.param
    return Proxied(at_root.server, at_root.cable, at_root.leash, at_root.url + prefix, at_root.certfile)


async def test_the_chat_asks_is_cut_and_resumes(browser: Browser, proxied: Proxied) -> None:
    proxied.leash.reaches(50)
    async with opened(browser, proxied.url, ignore_https_errors=True) as chat:
        assert await chat.page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol") == "h2"
        assert await chat.page.get_attribute("#status", "data-wire") == "websocket"
        await chat.ask(QUESTION)
        await chat.counted(50)
        proxied.cable.cut()
        await chat.status("reconnecting")
        proxied.leash.reaches(LAST)
        await chat.finished()
        assert await chat.numbers() == list(range(1, LAST + 1))
        assert (await chat.answer())["answer"]["restarts"] == 0


async def test_a_stream_comes_as_it_is_written_is_cut_and_resumed(proxied: Proxied) -> None:
    proxied.leash.reaches(50)
    body = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], "stream": True}
    path = "/v1/chat/completions"
    async with proxied.client() as client:
        async with client.stream("POST", path, json=body, headers={"Twowire-Resume-Grace": "60"}) as answer:
            assert (answer.status_code, answer.http_version) == (200, "HTTP/2")
            last = ""
            async for line in answer.aiter_lines():
                last = line.removeprefix("id: ") if line.startswith("id: ") else last
                if " 50 " in line or '"50 ' in line:
                    break
        proxied.leash.reaches(LAST)
        again = f"{path}/{answer.headers['Twowire-Completion-Id']}/stream"
        token = {"Twowire-Resume-Token": answer.headers["Twowire-Resume-Token"]}
        rest = await client.get(again, params={"starting_after": last}, headers=token)
    assert f"id: {int(last) + 1}\n" in rest.text
    assert f"{LAST} " in rest.text
    assert rest.text.endswith("data: [DONE]\n\n")


async def test_a_client_that_leaves_ends_its_generation(proxied: Proxied) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": f"Count from 1 to {MANY}"}], "stream": True}
    async with proxied.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as answer:
        async for line in answer.aiter_lines():
            if "17 " in line:
                break
        assert proxied.server.in_engine() == 1
    # In a thread, so that the event loop goes on.
    await asyncio.to_thread(proxied.server.wait_idle, 60)


async def test_a_body_larger_than_a_proxy_takes_by_itself_passes(at_root: Proxied) -> None:
    question = {"role": "user", "content": "x" * (2 * 2**20)}
    async with at_root.client() as client:
        body = {"model": MODEL, "messages": [question], "max_tokens": 2}
        answer = await client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200
    assert answer.json()["usage"]["completion_tokens"] == 2
