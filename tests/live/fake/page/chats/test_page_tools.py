"""Thoughts and tool calls on the chat page."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.live.browser.pages import LAST_ANSWER, Chat
from tests.live.servers.dialogue import THE_REQUEST, Dialogue

pytestmark = pytest.mark.asyncio(loop_scope="module")

THOUGHTS = "First **this**, then that."
THOUGHT_ANSWER = f"<think>\n{THOUGHTS}\n</think>\n\nBecause."
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome", "days": 3}}\n</tool_call>'
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


def thinking(*turns: str, **options: Any) -> Dialogue:
    return Dialogue(*turns, thinks_by_default=True, **options)


async def with_sampling(chat: Chat, sampling: dict[str, Any]) -> None:
    """Open the page again with these settings."""
    await chat.page.evaluate(
        "(text) => { localStorage['twowire-preferences'] = text; }", json.dumps({"sampling": sampling})
    )
    await chat.page.reload()
    await chat.ready()


async def asked(chat: Chat) -> dict[str, Any]:
    """What the engine was asked, which is what the last answer says."""
    await chat.finished()
    request: dict[str, Any] = json.loads((await chat.answer())["text"])
    return request


def summary(page: Page) -> Any:
    return page.locator(f"{LAST_ANSWER} .thoughts summary")


async def test_thoughts_are_folded_and_open_on_a_click(chat: Chat) -> None:
    page = chat.page
    await chat.ask(f"Why? {thinking(THOUGHT_ANSWER)}")
    await chat.finished()
    assert await chat.shown() == "Because."
    label = await summary(page).inner_text()
    assert label.startswith("Thought for 0")
    assert label.endswith(" tokens")
    body = page.locator(f"{LAST_ANSWER} .thoughts .rich")
    await expect(body).to_be_hidden()
    await summary(page).click()
    await expect(body).to_have_text("First this, then that.")
    await expect(body.locator("strong")).to_have_text("this")
    # They stay with the chat.
    await page.reload()
    await summary(page).click()
    await expect(body).to_have_text("First this, then that.")


async def test_open_thoughts_grow_as_the_model_thinks(chat: Chat) -> None:
    page = chat.page
    await chat.ask(f"Why? {thinking(THOUGHT_ANSWER, hangs_after=6)}")
    await expect(summary(page)).to_contain_text(re.compile(r"Thinking for \d+ s · \d+ characters"))
    await summary(page).click()
    await expect(page.locator(f"{LAST_ANSWER} .thoughts .rich")).to_contain_text("First")
    await page.keyboard.press("Escape")
    await chat.finished()
    await expect(summary(page)).to_contain_text("Thought for")
    await expect(summary(page)).to_contain_text("6 tokens")


async def test_thoughts_are_sent_back_as_thoughts(chat: Chat) -> None:
    await chat.ask(f"Why? {thinking(THOUGHT_ANSWER, THE_REQUEST)}")
    await chat.finished()
    await chat.ask("And then?")
    answer = (await asked(chat))["messages"][1]
    assert answer["content"] == "Because."
    assert answer["reasoning"].strip() == THOUGHTS


async def test_a_call_is_shown_and_answered_by_hand(chat: Chat) -> None:
    page = chat.page
    await with_sampling(chat, {"tools": TOOLS})
    dialogue = Dialogue(f"Let me look.\n{CALL}", THE_REQUEST)
    await chat.ask(f"Rain? {dialogue}")
    await chat.finished()
    call = page.locator(f"{LAST_ANSWER} .calls figure")
    await expect(call.locator("figcaption span")).to_have_text("Call of weather")
    shown = await call.locator("code").inner_text()
    assert shown == json.dumps({"city": "Rome", "days": 3}, indent=2)
    await page.get_by_label("Result of weather").fill("18 degrees")
    # What was typed survives a reload.
    await page.reload()
    await expect(page.get_by_label("Result of weather")).to_have_value("18 degrees")
    await page.get_by_role("button", name="Send result").click()
    await page.locator("article.tool", has_text="18 degrees").wait_for()
    await page.wait_for_function("() => document.querySelectorAll('article.assistant').length === 2")
    request = await asked(chat)
    _, called, result = request["messages"]
    assert called["content"].strip() == "Let me look."
    assert called["tool_calls"][0]["function"] == {"name": "weather", "arguments": {"city": "Rome", "days": 3}}
    assert result["role"] == "tool"
    assert result["content"] == "18 degrees"
    assert result["tool_call_id"] == called["tool_calls"][0]["id"]
    assert [tool["name"] for tool in request["tools"]] == ["weather"]
    await expect(page.get_by_label("Result of weather")).to_have_count(0)


async def test_arguments_are_shown_as_they_come(chat: Chat) -> None:
    page = chat.page
    await with_sampling(chat, {"tools": TOOLS})
    await chat.ask(f"Rain? {Dialogue(CALL, hangs_after=22, cut=1)}")
    code = page.locator(f"{LAST_ANSWER} .calls code")
    await expect(code).to_contain_text('{"city"')
    assert await page.get_by_role("button", name="Send result").count() == 0, "the call is not whole"
    await page.keyboard.press("Escape")
    await chat.finished()
    assert await page.get_by_role("button", name="Send result").count() == 0
