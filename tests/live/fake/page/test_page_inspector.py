"""The wire inspector of the chat page: frames and events side by side, the request as a program."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.live.browser.pages import Chat, opened
from tests.live.fake.page.axe import findings
from tests.live.servers.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNT = 12
QUESTION = f"It's simple. Count from 1 to {COUNT}"
CHUNKS = "#inspector tbody tr:has(th)"


async def with_inspector(chat: Chat, name: str = "Wire inspector") -> Page:
    """Open it."""
    await chat.page.get_by_role("button", name=name).click()
    await chat.page.get_by_role("region", name=name).wait_for()
    return chat.page


async def test_each_frame_stands_beside_its_event(browser: Browser, server: Server) -> None:
    async with opened(browser, server.url, permissions=["clipboard-read", "clipboard-write"]) as chat:
        page = await with_inspector(chat)
        await chat.ask(QUESTION)
        await chat.finished()
        # The number of chunks is the server's business: a slow reader gets fewer, longer ones.
        await page.locator("#inspector tbody tr", has_text="[DONE]").wait_for()
        rows = await page.locator(CHUNKS).count()
        assert rows >= 2
        await expect(page.locator(CHUNKS, has_text="identical")).to_have_count(rows)
        await expect(page.locator("#inspector")).to_contain_text(f"{rows} with identical chunks")
        first = page.locator(CHUNKS).first.get_by_role("button")
        await first.click()
        panes = page.locator(".wire-bytes pre")
        await expect(panes.nth(0)).to_contain_text('"seq":1,')
        frame = json.loads(await panes.nth(0).inner_text())
        number, event = (await panes.nth(1).inner_text()).split("\n")
        assert (frame["type"], frame["seq"], number) == ("chat.completion.chunk", 1, "id: 1")
        assert json.loads(event.removeprefix("data: ")) == frame["data"]
        assert await page.locator(".wire-bytes mark").all_inner_texts() == [event.removeprefix("data: ")] * 2
        await first.press("ArrowDown")
        await expect(page.locator(f"{CHUNKS} [aria-current]")).to_be_focused()
        await expect(panes.nth(0)).to_contain_text('"seq":2,')
        await page.get_by_role("button", name="curl").click()
        await expect(page.locator("#inspector [role=status]").last).to_have_text("Copied as curl.")
        words = shlex.split((await page.evaluate("navigator.clipboard.readText()")).replace("\\\n", ""))
        assert words[2] == f"{server.url}/v1/chat/completions"
        body = json.loads(words[-1])
        assert (body["stream"], body["messages"]) == (True, [{"role": "user", "content": QUESTION}])
        await page.keyboard.press("Escape")
        await expect(page.locator("#inspector")).to_have_count(0)
        await expect(page.get_by_role("button", name="Wire inspector")).to_be_focused()


@pytest.mark.parametrize(
    ("locale", "name", "scheme", "width"),
    [("en-US", "Wire inspector", "light", 1200), ("ko-KR", "통신 검사기", "dark", 380)],
)
async def test_axe_finds_nothing_in_it(
    browser: Browser, server: Server, axe: str, locale: str, name: str, scheme: str, width: int
) -> None:
    options: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}, "bypass_csp": True}
    async with opened(browser, server.url, locale=locale, **options) as chat:
        page = await with_inspector(chat, name)
        await chat.ask(QUESTION)
        await chat.finished()
        await page.locator("#inspector tbody tr", has_text="[DONE]").wait_for()
        await page.locator(CHUNKS).first.get_by_role("button").click()
        assert await findings(page, axe) == []
