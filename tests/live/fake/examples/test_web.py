"""The page and the proxies of examples/: the page as it is, the proxies with other ports."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, expect

from tests.certificates import ROOT
from tests.examples.commands import EXAMPLES
from tests.live.browser.pages import LIMIT_MS, Cable
from tests.live.servers.held import Leash
from tests.live.servers.ports import unused_port
from tests.live.servers.programs.proxies import CADDY, NGINX, Proxy, Setup
from tests.live.servers.server import MODEL, Server
from twowire_client import Channel

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = "chat_page.html"
LAST = 300


@pytest.fixture(scope="module")
def flags() -> tuple[str, ...]:
    return ("--cors-origins", "*")


@pytest.fixture(scope="module")
def env(leash: Leash) -> dict[str, str]:
    return {"FAKE_PACE_S": "0.001", "FAKE_LEASH": str(leash.path)}


@pytest.fixture
def server(fake: Server) -> Iterator[Server]:
    """The file's server; what the page left resumable may stay."""
    yield fake
    fake.wait_idle(30)
    assert not any("Traceback" in line for line in fake.log), "".join(fake.log[-60:])


@contextmanager
def web_server() -> Iterator[str]:
    """The address of Python's own server for the project's folder, as the README starts it."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        (url,) = re.findall(r"\((http://[\d.:]+)/\)", process.stdout.readline())
        yield url
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


async def test_the_page_asks_is_cut_goes_on_and_stops(server: Server, browser: Browser, leash: Leash) -> None:
    leash.reaches(50)
    problems: list[str] = []
    async with Cable(server.url) as cable:
        with web_server() as url:
            page = await browser.new_page()
            page.on("pageerror", lambda error: problems.append(str(error)))
            await page.goto(f"{url}/examples/{PAGE}?server={cable.url}")
            await page.fill("input", f"Count from 1 to {LAST}")
            await page.click("text=Ask")
            answer = page.locator(".assistant").nth(0)
            await expect(answer).to_contain_text(re.compile(r"\b50\b"), timeout=LIMIT_MS)
            cable.cut()
            await expect(page.locator("#status")).to_contain_text("reconnecting", timeout=LIMIT_MS)
            leash.reaches(LAST)
            await expect(page.locator("#stop")).to_be_disabled(timeout=LIMIT_MS)
            assert [int(number) for number in (await answer.inner_text()).split()] == list(range(1, LAST + 1))

            leash.reaches(5)
            await page.fill("input", f"Count from 1 to {LAST}")
            await page.click("text=Ask")
            await expect(page.locator(".assistant").nth(1)).to_contain_text(re.compile(r"\b5\b"), timeout=LIMIT_MS)
            await page.click("#stop")
            await expect(page.locator("#stop")).to_be_disabled(timeout=LIMIT_MS)
            assert await page.locator(".assistant").nth(1).inner_text() == "1 2 3 4 5 "
            await page.close()
    assert not problems


def example(name: str) -> Callable[[Setup], str]:
    """Makes the configuration of an example with the test's addresses."""

    def configuration(setup: Setup) -> str:
        lines = (EXAMPLES / name).read_text("utf-8").splitlines()
        text = "\n".join(line for line in lines if not line.lstrip().startswith("#")) + "\n"
        used = {"127.0.0.1:8080": f"127.0.0.1:{setup.port}", "127.0.0.1:8000": setup.server.removeprefix("http://")}
        for shown, address in used.items():
            assert shown in text, shown
            text = text.replace(shown, address)
        return text

    return configuration


# Root's nginx would give up the right to enter the folder, which is root's alone.
USER = ("-g", "user root;") if os.geteuid() == 0 else ()
PROXIES = (
    replace(
        NGINX,
        configuration=example("proxies/nginx.conf"),
        command=("-p", ".", "-e", "stderr", "-c", "configuration", *USER),
    ),
    replace(CADDY, configuration=example("proxies/Caddyfile")),
)


@pytest.mark.parametrize("proxy", PROXIES, ids=lambda proxy: proxy.name)
async def test_a_proxy_passes_streams_and_the_websocket(
    server: Server, leash: Leash, tmp_path: Path, proxy: Proxy
) -> None:
    if proxy.program is None:
        pytest.skip(f"{proxy.name} is not installed; on Debian: apt-get install {proxy.package}")
    leash.reaches(10)
    port = unused_port()
    url = f"http://127.0.0.1:{port}"
    messages = [{"role": "user", "content": "Count from 1 to 20"}]
    body = {"model": MODEL, "messages": messages, "stream": True}
    with proxy.running(tmp_path, Setup(port, server.url, tmp_path, tmp_path)):
        async with (
            httpx.AsyncClient(timeout=60) as client,
            client.stream("POST", f"{url}/v1/chat/completions", json=body) as answer,
        ):
            assert answer.status_code == 200
            last = ""
            async for line in answer.aiter_lines():
                last = line or last
                if re.search(r"\b10 ", line):
                    # It came while the engine was held: nothing is buffered.
                    leash.reaches(20)
        assert last == "data: [DONE]"
        async with Channel.connect(url) as channel:
            chat = await channel.create(model=MODEL, messages=messages)
            assert (await chat.text()).split() == [str(number) for number in range(1, 21)]
        # A page whose own name leads here (DNS rebinding) gets nothing of the server.
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            assert MODEL in (await client.get("/v1/models")).text
            refused = await client.get("/v1/models", headers={"Host": f"evil.example.com:{port}"})
            assert MODEL not in refused.text
            # To a name that it does not serve, Caddy answers with nothing.
            assert refused.status_code == 421 or (refused.status_code, refused.text) == (200, "")
