"""Who can use the chat page: languages, scripts, colours, screen readers, slow connections."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Browser

from tests.live.browser.pages import LAST_ANSWER, Chat, context, opened
from tests.live.fake.page.axe import findings
from tests.live.fake.page.texts import MARKDOWN, said
from tests.live.servers.dialogue import Dialogue
from tests.live.servers.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIRST_LOAD_BYTES = 200_000
THOUGHTS_AND_A_CALL = Dialogue(
    "A first answer.",
    "<think>\nIt **may** rain.\n</think>\n\nSee:\n"
    '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>',
    thinks_by_default=True,
)


async def test_the_page_speaks_the_browsers_language_or_the_readers(browser: Browser, server: Server) -> None:
    async with opened(browser, server.url, locale="ko-KR") as chat:
        page = chat.page
        assert await page.get_attribute("html", "lang") == "ko"
        await page.get_by_role("button", name="설정").click()
        await page.locator("[name=language]").select_option("en")
        await page.wait_for_function("() => document.documentElement.lang === 'en'")
        await page.get_by_role("heading", name="Settings").wait_for()
        await page.reload()
        await page.get_by_role("button", name="New chat").first.wait_for()


async def test_text_from_right_to_left_runs_from_right_to_left(chat: Chat) -> None:
    text = "مرحبا بالعالم\n\n- واحد\n- two\n\nEnglish again."
    await said(chat, text)
    directions = await chat.page.locator(f"{LAST_ANSWER} .body > *").evaluate_all(
        "blocks => blocks.map((block) => getComputedStyle(block).direction)"
    )
    assert directions == ["rtl", "rtl", "ltr"]
    wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert await chat.page.evaluate(wider) <= 0
    await chat.page.evaluate("document.documentElement.dir = 'rtl'")
    side = await chat.page.locator("#sidebar").bounding_box()
    assert side is not None
    assert side["x"] > 600, "the whole page can be mirrored"
    assert await chat.page.evaluate(wider) <= 0, "nothing lies beside it"
    box = await chat.page.locator("#composer").bounding_box()
    assert box is not None
    assert 0 <= box["x"] <= side["x"] - box["width"]
    await chat.page.locator("#scroller").press("Home")
    await chat.page.locator(".skip").focus()
    link = await chat.page.locator(".skip").bounding_box()
    assert link is not None
    assert (link["x"] + link["width"], link["y"]) == (1200, 0)


async def test_the_colours_are_the_systems_or_the_readers(browser: Browser, server: Server) -> None:
    colour = "getComputedStyle(document.querySelector('#stage')).backgroundColor"
    async with opened(browser, server.url, color_scheme="dark") as chat:
        page = chat.page
        dark = await page.evaluate(colour)
        await page.emulate_media(color_scheme="light")
        light = await page.evaluate(colour)
        assert dark != light
        await page.get_by_role("button", name="Settings", exact=True).click()
        await page.locator("[name=theme]").select_option("dark")
        assert await page.evaluate(colour) == dark
        await page.reload()
        assert await page.evaluate(colour) == dark
        # By a script that comes before the first paint, not by the page's own, which come after it.
        assert (await page.evaluate("document.querySelector('script').src")).endswith("/theme.js")


async def test_a_screen_reader_is_told_what_is_said_in_whole_sentences(chat: Chat) -> None:
    page = chat.page
    await page.evaluate(
        """() => {
          window.heard = [];
          new MutationObserver((records) => {
            for (const { addedNodes } of records) for (const node of addedNodes) window.heard.push(node.textContent);
          }).observe(document.querySelector("#announcements"), { childList: true });
        }"""
    )
    assert await page.get_attribute("#announcements", "aria-live") == "polite"
    await said(chat, "This is **one** sentence. " * 40)
    heard: list[str] = await page.evaluate("window.heard")
    assert heard[0] == "Answering"
    assert heard[-1].endswith("Answer complete.")
    assert " ".join(heard).count("This is one sentence.") == 40
    assert len(heard) < 20, "not with every word"


async def test_the_first_load_is_small(browser: Browser, server: Server) -> None:
    async with context(browser) as made:
        chat = Chat(await made.new_page(), server.url)
        session = await made.new_cdp_session(chat.page)
        sizes: list[int] = []
        session.on("Network.loadingFinished", lambda event: sizes.append(int(event["encodedDataLength"])))
        await session.send("Network.enable")
        await chat.open()
        await said(chat, "Hello **there**")
        print(f"the first load: {len(sizes)} files, {sum(sizes)} bytes")
        assert 20 < len(sizes) < 80
        assert sum(sizes) < FIRST_LOAD_BYTES
        assert chat.problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 380])
async def test_axe_finds_nothing(browser: Browser, server: Server, axe: str, scheme: str, width: int) -> None:
    options: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}, "bypass_csp": True}
    sampling = {"tools": [{"type": "function", "function": {"name": "weather"}}]}
    async with opened(browser, server.url, sampling=sampling, **options) as chat:
        page = chat.page

        async def look(where: str) -> None:
            assert await findings(page, axe) == [], where

        await look("before the first question")
        await said(chat, MARKDOWN + "\n\n![picture](https://remote.example/x.png)")
        await chat.tool("Regenerate")
        await page.get_by_text("2 / 2").wait_for()
        await chat.finished()
        await page.locator("pre .hljs-keyword").first.wait_for()
        await look("a conversation")
        await chat.tool("Edit", "article.user")
        await look("editing")
        await page.keyboard.press("Escape")
        await chat.ask(f"Rain? {THOUGHTS_AND_A_CALL}")
        await chat.finished()
        await page.locator(f"{LAST_ANSWER} .thoughts summary").click()
        await page.get_by_label("Result of weather").wait_for()
        await look("thoughts and a call")
        if width < 800:
            await page.get_by_role("button", name="Show or hide chats").first.click()
            await look("the list over the conversation")
        await page.get_by_role("button", name="Settings", exact=True).click()
        await page.get_by_text("More", exact=True).click()
        await page.locator("[name=response_format]").fill("{")
        await look("settings")
        await page.get_by_role("button", name="Keyboard shortcuts").click()
        await page.get_by_role("heading", name="Keyboard shortcuts").wait_for()
        await look("shortcuts")
        keyless = {"error": {"message": "An API key is needed.", "code": "invalid_api_key"}}
        await page.route("**/v1/models", lambda route: route.fulfill(status=401, json=keyless))
        await page.reload()
        await page.get_by_role("dialog", name="This server requires an API key").wait_for()
        await look("the key's dialog")
