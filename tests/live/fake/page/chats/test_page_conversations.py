"""Conversations on the chat page: long ones, the list of them, and their files."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.live.browser.frames import frames
from tests.live.browser.pages import LAST_ANSWER, Chat, opened
from tests.live.fake.page.texts import MARKDOWN, conversation, import_chats, said
from tests.live.servers.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_four_hundred_messages_are_as_few_to_the_page(browser: Browser, server: Server) -> None:
    # Without the policy, which would keep this test's own script from being made of text.
    async with opened(browser, server.url, bypass_csp=True) as chat:
        page = chat.page
        await import_chats(chat, conversation(400))
        await page.get_by_role("link", name="A long one").click()
        await page.wait_for_function("() => document.querySelectorAll('article').length === 400")
        # Markdown is made of what is near; the rest waits until it comes near.
        made = await page.locator("article.assistant .body:has(> p)").count()
        assert 2 <= made < 60
        scrolling = await frames(
            page,
            """const box = document.querySelector("#scroller");
               for (let top = box.scrollHeight; top > 0; top -= 900) {
                 box.scrollTop = top;
                 await new Promise(requestAnimationFrame);
               }
               for (let frame = 0; frame < 20; frame += 1) await new Promise(requestAnimationFrame);""",
        )
        assert await page.locator("article.assistant .body:has(> p)").count() == 200, "all of them have come near"
        # While an answer is streamed, nothing else is touched.
        await page.evaluate(
            """() => {
              window.touched = window.touchedElsewhere = 0;
              const isOther = (node) => node.closest?.("article") && !node.closest("article:last-of-type");
              new MutationObserver((records) => {
                for (const { target } of records) if (isOther(target)) window.touched += 1;
              }).observe(document.querySelector("#thread"), { childList: true, subtree: true, attributes: true });
              const isElsewhere = (node) => !(node.closest ? node : node.parentElement)?.closest("#thread, .words");
              new MutationObserver((records) => {
                for (const { target } of records) if (isElsewhere(target)) window.touchedElsewhere += 1;
              }).observe(document, { childList: true, subtree: true, characterData: true });
            }"""
        )
        await chat.ask("Count from 1 to 2000")
        streaming = await frames(
            page,
            """while (document.querySelector("article:last-of-type.open")) await new Promise(requestAnimationFrame);""",
        )
        assert await chat.numbers() == list(range(1, 2001))
        assert await page.evaluate("window.touched") <= 4, "but for the question, which is drawn once"
        assert await page.evaluate("window.touchedElsewhere") < 200, "neither is the rest of the page, by each token"
        print(f"400 messages, scrolled through: {scrolling}; while an answer of 2000 tokens comes: {streaming} (ms)")


async def test_the_end_stays_in_sight_until_the_reader_leaves_it(chat: Chat) -> None:
    page = chat.page
    at_end = """() => {
      const box = document.querySelector("#scroller");
      return box.scrollHeight - box.scrollTop - box.clientHeight < 5;
    }"""
    await chat.ask("Count from 1 to 20000")
    await page.wait_for_function("() => document.querySelector('#scroller').scrollTop > 200")
    assert await page.evaluate(at_end)
    await page.locator("#scroller").hover()
    await page.mouse.wheel(0, -400)
    await page.locator("#to-end").wait_for()
    top = await page.evaluate("document.querySelector('#scroller').scrollTop")
    length = len(await chat.shown())
    await page.wait_for_function(
        f"() => document.querySelector('{LAST_ANSWER} .body').innerText.length > {length + 400}"
    )
    assert abs(await page.evaluate("document.querySelector('#scroller').scrollTop") - top) < 400
    assert not await page.evaluate(at_end)
    await page.get_by_role("button", name="Scroll to the end").click()
    await page.wait_for_function(at_end)
    await page.locator("#to-end").wait_for(state="hidden")
    await page.keyboard.press("Escape")
    await chat.finished()


async def begin(chat: Chat, *texts: str) -> None:
    """A new chat for each of the texts, answered."""
    for text in texts:
        await chat.page.get_by_role("button", name="New chat").first.click()
        await chat.ask(text)
        await chat.finished()


# -- the list ----------------------------------------------------------------------------------------------------------


async def test_conversations_are_found_renamed_deleted_and_brought_back(chat: Chat) -> None:
    page = chat.page
    await begin(chat, "Say: a needle in it", "Say: only hay")
    links = page.locator("#conversations a")
    await expect(links).to_have_text(["Say: only hay", "Say: a needle in it"])
    await page.fill("#search", "NEEDLE")
    await expect(links).to_have_count(1)
    await links.hover()
    await page.get_by_role("button", name="Rename: Say: a needle in it").click()
    await page.locator("#conversations input").fill("Sewing")
    await page.keyboard.press("Enter")
    await page.get_by_role("link", name="Sewing").wait_for()
    await page.get_by_role("button", name="Delete: Sewing").click()
    await page.get_by_text("No chats found.").wait_for()
    assert len(await chat.stored()) == 2
    await page.get_by_role("button", name="Undo").click()
    await page.get_by_role("link", name="Sewing").click()
    await expect(page.locator(f"{LAST_ANSWER} .body")).to_have_text("a needle in it")


async def test_what_is_saved_to_a_file_can_be_brought_in_elsewhere(browser: Browser, server: Server) -> None:
    async with opened(browser, server.url) as here, opened(browser, server.url) as there:
        await said(here, MARKDOWN)
        await here.tool("Regenerate")
        await here.page.get_by_text("2 / 2").wait_for()
        await here.finished()
        await here.page.get_by_role("button", name="Settings", exact=True).click()
        async with here.page.expect_download() as saving:
            await here.page.get_by_role("button", name="Export all chats").click()
        file = await (await saving.value).path()
        text = await asyncio.to_thread(Path(file).read_text, "utf-8")
        assert all(
            message["answer"]["cursor"] is None for message in json.loads(text)["messages"] if "answer" in message
        )
        await import_chats(there, text)
        await there.page.get_by_text("Imported chats: 1").wait_for()
        await import_chats(there, text)
        await there.page.wait_for_function("() => document.querySelectorAll('#conversations a').length === 2")
        kept = await there.stored()
        assert len(kept) == 6, "nothing is overwritten"
        assert {message["text"] for message in kept} == {message["text"] for message in await here.stored()}
        for broken in (
            "{",
            "[]",
            '{"format": "twowire-chats", "version": 1}',
            json.dumps(conversation(3)).replace('"m0"', "7"),
        ):
            await import_chats(there, broken)
            await there.page.get_by_text("This file cannot be imported").wait_for()
            await there.page.evaluate("document.querySelector('#toasts').replaceChildren()")
        assert await there.stored() == kept


LINE = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Rain?"},
        {
            "role": "assistant",
            "content": "",
            "reasoning": "Look it up.",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "No rain", "tool_call_id": "c1"},
        {"role": "assistant", "content": "It is dry."},
    ],
    "tools": [{"type": "function", "function": {"name": "weather"}}],
}


async def test_chats_are_exchanged_with_other_programs(chat: Chat) -> None:
    page = chat.page
    await import_chats(chat, json.dumps(LINE) + "\n")
    await page.get_by_role("link", name="Rain?").click()
    await page.get_by_role("heading", name="Result of weather").wait_for()
    await page.get_by_role("button", name="Settings", exact=True).click()

    async def saved(name: str) -> str:
        async with page.expect_download() as saving:
            await page.get_by_role("button", name=name).click()
        file = await (await saving.value).path()
        return await asyncio.to_thread(Path(file).read_text, "utf-8")

    assert json.loads(await saved("Export as OpenAI messages")) == LINE
    text = await saved("Export as Markdown")
    assert text.startswith("# Rain?\n\n## Your question\n\nRain?\n\n## Answer\n\n```json\n")
    assert text.endswith("## Result of weather\n\nNo rain\n\n## Answer\n\nIt is dry.\n")
    await page.keyboard.press("Escape")
    await import_chats(chat, json.dumps(LINE) + '\n{"messages": [{"role": "king"}]}')
    await page.get_by_text('This file cannot be imported: line 2: the role "king" is not known.').wait_for()


async def test_a_pinned_chat_stays_on_top(chat: Chat) -> None:
    page = chat.page
    await begin(chat, "Say: one", "Say: two")
    links = page.locator("#conversations a")
    await links.nth(1).hover()
    await page.get_by_role("button", name="Pin: Say: one").click()
    await expect(links).to_have_text(["Say: one", "Say: two"])
    await page.reload()
    await expect(page.locator("#conversations h2")).to_have_text(["Pinned", "Today"])
