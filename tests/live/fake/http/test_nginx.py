"""The server behind the real nginx, set up as docs/deployment.md says: only names, ports and files are this test's."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.certificates import ROOT, make_certificate
from tests.live.browser.pages import Chat, opened
from tests.live.servers.server import MODEL, Server, start_fake_server, stop_server

# Debian has it where only root looks for programs.
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
SOON_S = 10.0

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed; on Debian: apt-get install nginx-light")

AROUND = """
daemon off;
pid nginx.pid;
error_log stderr notice;
{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    {recipe}
}}
"""


@dataclass(frozen=True)
class Proxied:
    server: Server
    url: str
    certfile: Path

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, verify=ssl.create_default_context(cafile=self.certfile), timeout=30)


def recipe(**changes: str) -> str:
    """The configuration that the documentation shows; each of `changes` must find its place in it."""
    text = (ROOT / "docs" / "deployment.md").read_text()
    blocks: list[str] = re.findall(r"```nginx\n(.*?)```", text, re.DOTALL)
    (found,) = blocks
    for directive, value in changes.items():
        (shown,) = re.findall(rf"\b{directive} [^;]+;", found)
        found = found.replace(shown, f"{directive} {value};")
    return found


@contextmanager
def free_port() -> Iterator[int]:
    """A port that nobody else gets while it is held; nginx may take it meanwhile, as both allow to share it."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextmanager
def running(folder: Path, configuration: str, port: int) -> Iterator[None]:
    """nginx with this configuration, all of its files in `folder`, once it listens."""
    assert NGINX is not None
    (folder / "nginx.conf").write_text(configuration)
    log = folder / "nginx.log"
    with log.open("w") as out:
        process = subprocess.Popen([NGINX, "-p", folder, "-c", "nginx.conf"], stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + SOON_S
        while "start worker process" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)  # Between two questions, not in place of one.
        yield
    finally:
        process.terminate()
        process.wait(SOON_S)


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    folder = tmp_path_factory.mktemp("nginx")
    certfile, keyfile = make_certificate(folder)
    with free_port() as port:
        url = f"https://localhost:{port}"
        server = start_fake_server("--cors-origins", url, env={"FAKE_PACE_S": "0.02"})
        configuration = AROUND.format(
            # Its workers must reach the folder, which is the user's alone.
            user="user root;" if os.geteuid() == 0 else "",
            recipe=recipe(
                listen=f"127.0.0.1:{port} ssl reuseport",
                server_name="localhost",
                ssl_certificate=str(certfile),
                ssl_certificate_key=str(keyfile),
                proxy_pass=server.url,
            ),
        )
        with running(folder, configuration, port):
            yield Proxied(server, url, certfile)
    assert stop_server(server) == 0, "".join(server.log[-60:])


@pytest_asyncio.fixture(loop_scope="module")
async def chat(browser: Browser, proxied: Proxied) -> AsyncIterator[Chat]:
    async with opened(browser, proxied.url, ignore_https_errors=True) as chat:
        yield chat


@pytest.mark.asyncio(loop_scope="module")
async def test_the_chat_connects_and_answers(chat: Chat) -> None:
    await chat.ask("Count from 1 to 30")
    await chat.finished()
    assert await chat.numbers() == list(range(1, 31))


def test_a_stream_comes_as_it_is_written_and_ends_with_its_client(proxied: Proxied) -> None:
    question = {"role": "user", "content": "Count from 1 to 100000"}
    body = {"model": MODEL, "messages": [question], "stream": True}
    with proxied.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.status_code == 200
        lines = answer.iter_lines()
        assert any("17 " in line for line in lines), "all chunks waited for the end"
        assert proxied.server.in_engine() == 1
    proxied.server.wait_idle(SOON_S)


def test_a_body_larger_than_nginx_takes_by_itself_passes(proxied: Proxied) -> None:
    question = {"role": "user", "content": "x" * (2 * 2**20)}
    with proxied.client() as client:
        answer = client.post("/v1/chat/completions", json={"model": MODEL, "messages": [question], "max_tokens": 2})
    assert answer.status_code == 200
    assert answer.json()["usage"]["completion_tokens"] == 2
