"""A chat page on the fake engine, which says what it is asked to say, and axe."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.live.browser.pages import Chat, opened
from tests.live.servers.server import Server, fake_server

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="session")
def talking_server() -> Iterator[Server]:
    """One server for all files that only read: each test has a browser profile of its own."""
    with fake_server(env={"FAKE_PACE_S": "0.002"}) as server:
        yield server


@pytest.fixture
def server(talking_server: Server) -> Server:
    return talking_server


@pytest_asyncio.fixture(loop_scope="module")
async def chat(browser: Browser, server: Server) -> AsyncIterator[Chat]:
    async with opened(browser, server.url) as chat:
        yield chat


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe, which finds what keeps people from using a page."""
    if os.environ.get("WITHOUT_NPM"):
        pytest.skip("WITHOUT_NPM is set: axe is not there")
    command = [sys.executable, str(ROOT / "requirements" / "pages.py"), "tools"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return (ROOT / ".node" / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")
