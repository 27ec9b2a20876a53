"""How the chat page is loaded: a second time, without a network and below a path."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.live.browser.pages import Cable, Chat, opened
from tests.live.servers.server import Server, fake_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT_PATH = "/on/chat"
TRANSFERRED = """() => performance.getEntriesByType("resource")
  .filter((entry) => entry.transferSize > 0).map((entry) => new URL(entry.name).pathname).sort()"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with fake_server("--root-path", ROOT_PATH) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def chat(browser: Browser, server: Server) -> AsyncIterator[Chat]:
    async with opened(browser, server.url) as chat:
        yield chat


async def worker_is_active(page: Page) -> None:
    await page.wait_for_function(
        "async () => (await navigator.serviceWorker.getRegistration())?.active?.state === 'activated'"
    )


async def test_the_second_load_asks_for_what_may_have_changed_alone(chat: Chat) -> None:
    assert len(await chat.page.evaluate(TRANSFERRED)) > 20
    await chat.page.reload()
    await chat.ready()
    assert await chat.page.evaluate(TRANSFERRED) == ["/health", "/v1/models"]


async def test_the_page_opens_without_a_network_and_connects_when_there_is_one(
    browser: Browser, server: Server
) -> None:
    async with Cable(server.url) as cable, opened(browser, cable.url) as chat:
        await worker_is_active(chat.page)
        await chat.ask("Count from 1 to 5")
        await chat.finished()
        cable.is_torn = True
        cable.cut()
        # By the page: Playwright takes a failed request for a failed reload, even if the service worker answers it.
        await chat.page.evaluate("() => { window.isOld = true; setTimeout(() => location.reload()); }")
        await chat.page.wait_for_function("() => window.isOld === undefined")
        await chat.page.get_by_text("1 2 3 4 5").wait_for()
        cable.is_torn = False
        await chat.ready()


async def test_the_chat_works_below_a_path(browser: Browser, server: Server) -> None:
    async with opened(browser, server.url + ROOT_PATH) as chat:
        assert await chat.page.evaluate("location.pathname") == f"{ROOT_PATH}/"
        await chat.ask("Count from 1 to 5")
        await chat.finished()
        assert await chat.numbers() == [1, 2, 3, 4, 5]
        await worker_is_active(chat.page)
        assert (
            await chat.page.evaluate(
                "async () => new URL((await navigator.serviceWorker.getRegistration()).scope).pathname"
            )
            == f"{ROOT_PATH}/"
        )
        await chat.page.get_by_role("link", name="API").click()
        await chat.page.get_by_role("heading", name="twowire").first.wait_for()
        assert await chat.page.evaluate("location.pathname") == f"{ROOT_PATH}/docs"
