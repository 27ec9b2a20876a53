"""The bench: one prompt, several settings, and their answers side by side."""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, expect

from tests.live.browser.pages import Chat, opened
from tests.live.fake.page.axe import findings
from tests.live.servers.dialogue import THE_REQUEST, Dialogue
from tests.live.servers.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENDLESS = "Count from 1 to 1000000"


def column(chat: Chat, name: str) -> Locator:
    return chat.page.get_by_role("article", name=f"Column {name}")


def answer(chat: Chat, name: str) -> Locator:
    return chat.page.get_by_role("group", name=f"Answer of {name}")


async def run(chat: Chat, prompt: str) -> None:
    await chat.page.locator("#bench-prompt").fill(prompt)
    await chat.page.get_by_role("button", name="Run all").click()


async def saved(chat: Chat) -> list[dict[str, Any]]:
    """The records of the file."""
    async with chat.page.expect_download() as download:
        await chat.page.get_by_role("button", name="Save runs").click()
    text = await asyncio.to_thread((await (await download.value).path()).read_text, "utf-8")
    return [json.loads(line) for line in text.splitlines()]


async def test_each_column_has_its_settings_and_all_share_one_socket(chat: Chat) -> None:
    page = chat.page
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    await page.get_by_role("link", name="Bench").click()
    await expect(page.locator("#bench-prompt")).to_be_focused()
    await page.reload()
    await page.get_by_role("button", name="Add column").click()
    await column(chat, "C").get_by_label("Seed").fill("7")
    await column(chat, "B").get_by_label("System prompt").fill("Be brief.")
    await column(chat, "A").get_by_label("Max tokens").fill("0")
    question = f"Hello {Dialogue(THE_REQUEST)}"
    await run(chat, question)
    await page.get_by_text("Column A has settings that are not valid: Max tokens.").wait_for()
    await column(chat, "A").get_by_label("Max tokens").fill("5000")
    await run(chat, question)
    await page.get_by_text("Finished: 3").wait_for()
    asked = [json.loads(await answer(chat, name).inner_text()) for name in "ABC"]
    assert [one["sampling"]["temperature"] for one in asked] == [0, 1, 1]
    assert [one["sampling"].get("seed") for one in asked] == [None, None, 7]
    assert [one["sampling"].get("max_tokens") for one in asked] == [5000, None, None]
    assert [one["messages"][0]["content"] for one in asked] == [question, "Be brief.", question]
    assert len(sockets) == 1
    # It is kept in the browser, and the back button leads to the chat.
    await page.reload()
    await expect(page.locator("#bench-prompt")).to_have_value(question)
    await expect(column(chat, "B").get_by_label("System prompt")).to_have_value("Be brief.")
    await column(chat, "B").get_by_role("button", name="Remove column B").click()
    await expect(page.get_by_role("article")).to_have_count(2)
    await page.go_back()
    await expect(page.locator("#question")).to_be_visible()
    await expect(page.locator("#bench")).to_be_hidden()


async def test_one_is_stopped_while_the_other_goes_on_and_both_are_compared_and_saved(chat: Chat) -> None:
    page = chat.page
    await page.goto(f"{chat.url}/#/bench")
    await column(chat, "A").get_by_label("Max tokens").fill("40")
    await run(chat, ENDLESS)
    await page.get_by_text("Running: 1").wait_for()
    await expect(column(chat, "A")).to_contain_text("length")
    await expect(column(chat, "A")).to_contain_text("40 · 3 in the prompt")
    await expect(answer(chat, "B")).to_contain_text(" 50 ")
    await page.get_by_role("button", name="Stop B").click()
    await column(chat, "B").get_by_text("confirmed by the server in").wait_for()
    await page.get_by_role("button", name="Compare").click()
    await expect(page.locator(".bench-compare ins").last).to_contain_text("41 42 43 ")
    await expect(page.locator(".bench-compare")).to_contain_text("of the words are the same.")
    first, second = await saved(chat)
    assert (first["column"], first["status"], first["finish_reason"]) == ("A", "completed", "length")
    assert first["request"]["max_completion_tokens"] == 40
    assert first["text"].split() == [str(number) for number in range(1, 41)]
    assert 0 < first["first_token_ms"] < first["total_ms"]
    assert (second["column"], second["status"], second["finish_reason"]) == ("B", "cancelled", None)
    assert second["usage"]["completion_tokens"] >= 50
    assert second["stop_confirmed_ms"] > 0
    # Escape stops the rest.
    await page.get_by_role("button", name="Run B").click()
    await page.get_by_text("Running: 1").wait_for()
    await page.keyboard.press("Escape")
    await page.get_by_text("Finished: 2").wait_for()


async def test_the_probabilities_of_a_token_are_shown_under_the_pointer_and_by_the_keys(chat: Chat) -> None:
    page = chat.page
    await page.goto(f"{chat.url}/#/bench")
    await page.get_by_label("Token probabilities").check()
    await run(chat, "Count from 1 to 9")
    await page.get_by_text("Finished: 2").wait_for()
    await expect(answer(chat, "A")).to_have_text("1 2 3 4 5 6 7 8 9 ")
    card = page.locator(".bench-card")
    await answer(chat, "A").get_by_text("2", exact=True).hover()
    await expect(card.locator("p")).to_have_text("Token “2␣” 60%")
    await expect(card.locator("li")).to_have_text(
        ["“2␣” 60%", "“2?␣” 20%", "“2??␣” 10%", "“2???␣” 5%", "“2????␣” 2.5%"]
    )
    await page.locator("#bench-prompt").hover()
    await expect(card).to_be_hidden()
    await answer(chat, "B").focus()
    for _ in range(3):
        await page.keyboard.press("ArrowRight")
    await expect(card.locator("p")).to_have_text("Token “3␣” 30%")
    await page.keyboard.press("Escape")
    await expect(card).to_be_hidden()
    tokens = (await saved(chat))[0]["logprobs"]
    assert [one["token"] for one in tokens] == [f"{number} " for number in range(1, 10)]
    assert tokens[1]["logprob"] == pytest.approx(math.log(0.6))


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 380)])
async def test_axe_finds_nothing_in_the_bench(
    browser: Browser, server: Server, axe: str, scheme: str, width: int
) -> None:
    options: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}, "bypass_csp": True}
    async with opened(browser, server.url, locale="ko-KR", **options) as chat:
        page = chat.page
        await page.goto(f"{server.url}/#/bench")
        await page.get_by_label("토큰 확률").check()
        assert await findings(page, axe) == []
        await page.locator("#bench-prompt").fill("Count from 1 to 30")
        await page.get_by_role("button", name="모두 실행").click()
        await page.get_by_text("끝남: 2").wait_for()
        await page.get_by_role("button", name="비교").click()
        await page.get_by_text("두 답변이 같습니다.").wait_for()
        await page.get_by_role("group", name="A의 답변").focus()
        await page.keyboard.press("ArrowRight")
        await expect(page.locator(".bench-card")).to_be_visible()
        assert await findings(page, axe) == []
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
