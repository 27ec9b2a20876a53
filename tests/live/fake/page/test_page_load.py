"""What a waiting reader sees: the answer's place in the queue, and the server's load; what a link shows to others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, expect

from tests.live.browser.pages import LAST_ANSWER, Chat, context, opened
from tests.live.fake.page.axe import findings
from tests.live.servers.held import Leash
from tests.live.servers.server import Server, fake_server

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def server(leash: Leash) -> Iterator[Server]:
    env = {"FAKE_PACE_S": "0.002", "FAKE_LEASH": str(leash.path)}
    with fake_server("--max-num-seqs", "1", env=env) as server:
        yield server


async def test_a_link_shows_a_running_answer_to_somebody_else(
    browser: Browser, server: Server, leash: Leash, axe: str
) -> None:
    leash.reaches(5)
    async with opened(browser, server.url, bypass_csp=True) as chat:
        await chat.ask("Count from 1 to 20")
        await chat.counted(5)
        await chat.tool("Link to the live answer")
        dialog = chat.page.get_by_role("dialog", name="Link to the live answer")
        await dialog.get_by_role("img", name="QR code of the link").wait_for()
        await dialog.get_by_text("is an address of this computer").wait_for()
        link = await dialog.get_by_role("textbox", name="Link").input_value()
        assert await findings(chat.page, axe) == []
        await chat.page.keyboard.press("Escape")
        async with context(browser, bypass_csp=True) as made:
            guest = Chat(await made.new_page(), "")
            await guest.open(link)
            await guest.counted(5)
            await expect(guest.page.locator("#question")).to_be_hidden()
            leash.reaches(20)
            for one in (chat, guest):
                await one.finished()
                assert await one.numbers() == list(range(1, 21))
            await expect(guest.page.get_by_role("button", name="Continue")).to_have_count(0)
            await guest.page.get_by_role("button", name="New chat").first.click()
            await expect(guest.page.locator("#question")).to_be_visible()
            assert guest.problems == []


async def test_a_waiting_answer_says_how_many_are_before_it(
    browser: Browser, server: Server, leash: Leash, axe: str
) -> None:
    leash.reaches(0)
    async with opened(browser, server.url, bypass_csp=True) as chat:
        page, notice = chat.page, chat.page.locator(f"{LAST_ANSWER} .notice")
        await chat.ask("Count from 1 to 3")
        await expect(notice).to_have_text("Waiting for the first token…")
        for place in ("Next in the queue", "1 before you in the queue"):
            await page.get_by_role("button", name="New chat").first.click()
            await chat.ask("Count from 1 to 3")
            await expect(notice).to_have_text(place)
        await page.get_by_role("button", name="Settings").first.click()
        await page.get_by_role("button", name="Show server load").click()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("group", name="Server load")).to_contain_text("1 running · 2 waiting")
        assert await findings(page, axe) == []
        leash.reaches(3)
        await chat.finished()
        assert await chat.numbers() == [1, 2, 3]
        await expect(page.get_by_role("group", name="Server load")).to_contain_text("0 running · 0 waiting")
