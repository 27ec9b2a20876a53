"""A chat page on the fake engine, which says what it is asked to say, and axe."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.live.browser.pages import LIMIT_MS, Chat, opened
from tests.live.clients.node import packages
from tests.live.servers.server import Server, fake_server

# Playwright's own five seconds are too few on a machine that runs other tests.
expect.set_options(timeout=LIMIT_MS)


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
    return (packages("axe") / "axe-core" / "axe.min.js").read_text("utf-8")
