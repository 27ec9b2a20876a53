"""The chat page behind a proxy that blocks WebSockets: over HTTP, and back to a socket once one opens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.live.browser.pages import Cable, Chat, opened
from tests.live.servers.held import Leash
from tests.live.servers.server import Server, fake_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAST = 300
QUESTION = f"Count from 1 to {LAST}"


@pytest.fixture(scope="module")
def server(leash: Leash) -> Iterator[Server]:
    leash.reaches(LAST)
    with fake_server(env={"FAKE_PACE_S": "0.002", "FAKE_LEASH": str(leash.path)}) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def cable(server: Server) -> AsyncIterator[Cable]:
    async with Cable(server.url) as cable:
        cable.blocks_websockets = True
        yield cable


async def over(chat: Chat, wire: str) -> None:
    """Wait until the page says that it is connected over `wire`."""
    await chat.page.wait_for_selector(f"#status[data-wire={wire}]:is([data-kind=ready], [data-kind=resumed])")


async def assert_counted(chat: Chat) -> None:
    await chat.finished()
    assert await chat.numbers() == list(range(1, LAST + 1))
    answer = (await chat.answer())["answer"]
    assert (answer["state"], answer["restarts"], answer["usage"]["completion"]) == ("done", 0, LAST)


async def test_an_answer_comes_over_http_and_is_resumed_there(browser: Browser, cable: Cable, leash: Leash) -> None:
    leash.reaches(50)
    async with opened(browser, cable.url) as chat:
        await over(chat, "http")
        await chat.page.get_by_text("Connected over HTTP").wait_for()
        await chat.ask(QUESTION)
        await chat.counted(50)
        cable.cut()
        leash.reaches(150)
        await chat.counted(150)
        await chat.page.reload()
        leash.reaches(LAST)
        await assert_counted(chat)


async def test_an_answer_is_stopped_over_http(browser: Browser, cable: Cable, leash: Leash, server: Server) -> None:
    leash.reaches(50)
    async with opened(browser, cable.url) as chat:
        await over(chat, "http")
        await chat.ask(QUESTION)
        await chat.counted(50)
        await chat.page.keyboard.press("Escape")
        await chat.finished()
        assert (await chat.answer())["answer"]["state"] == "stopped"
        server.wait_idle(30)


async def test_an_answer_moves_to_a_socket_once_one_opens(browser: Browser, cable: Cable, leash: Leash) -> None:
    leash.reaches(50)
    async with opened(browser, cable.url) as chat:
        await over(chat, "http")
        await chat.ask(QUESTION)
        await chat.counted(50)
        cable.blocks_websockets = False
        # As if the machine had joined another network; otherwise it tries after 15 s.
        await chat.page.evaluate("dispatchEvent(new Event('online'))")
        await over(chat, "websocket")
        leash.reaches(LAST)
        await assert_counted(chat)
