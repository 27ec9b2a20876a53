"""Two tabs of one browser: both show a growing answer, and neither loses the other's settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.live.browser.pages import Chat, context
from tests.live.servers.held import Leash
from tests.live.servers.server import Server, fake_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAST = 300
QUESTION = f"Count from 1 to {LAST}"


@dataclass(frozen=True)
class Tabs:
    first: Chat
    second: Chat


@pytest.fixture(scope="module")
def server(leash: Leash) -> Iterator[Server]:
    leash.reaches(LAST)
    with fake_server(env={"FAKE_PACE_S": "0.002", "FAKE_LEASH": str(leash.path)}) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def tabs(browser: Browser, server: Server, leash: Leash) -> AsyncIterator[Tabs]:
    leash.reaches(LAST)
    async with context(browser) as made:
        first, second = Chat(await made.new_page(), server.url), Chat(await made.new_page(), server.url)
        await first.open()
        await first.ask("Count from 1 to 2")
        await first.finished()
        await second.open("/" + await first.page.evaluate("location.hash"))
        yield Tabs(first, second)
        assert first.problems == second.problems == []


async def looked_at(chat: Chat) -> Chat:
    """The tab, in front: the browser draws nothing in one that nobody sees."""
    await chat.page.bring_to_front()
    return chat


async def assert_counted(chat: Chat) -> None:
    await looked_at(chat)
    await chat.counted(LAST)
    await chat.finished()
    assert await chat.numbers() == list(range(1, LAST + 1))


async def test_both_show_an_answer_as_it_grows_whoever_asked(tabs: Tabs, leash: Leash, server: Server) -> None:
    leash.reaches(50)
    await (await looked_at(tabs.first)).ask(QUESTION)
    await (await looked_at(tabs.second)).counted(50)
    assert server.in_engine() == 1
    # One that is opened later begins with what was saved, and goes on from there.
    await tabs.second.page.reload()
    leash.reaches(120)
    await tabs.second.counted(120)
    leash.reaches(LAST)
    await assert_counted(tabs.first)
    await assert_counted(tabs.second)
    answer = (await tabs.first.answer())["answer"]
    assert (answer["state"], answer["restarts"]) == ("done", 0)


async def test_an_answer_is_stopped_from_the_tab_that_follows(tabs: Tabs, leash: Leash, server: Server) -> None:
    leash.reaches(50)
    await (await looked_at(tabs.first)).ask(QUESTION)
    await (await looked_at(tabs.second)).counted(50)
    await tabs.second.page.keyboard.press("Escape")
    await (await looked_at(tabs.first)).finished()
    await (await looked_at(tabs.second)).finished()
    assert (await tabs.first.answer())["answer"]["state"] == "stopped"


async def test_a_tab_that_follows_receives_the_rest_when_the_other_is_closed(tabs: Tabs, leash: Leash) -> None:
    leash.reaches(50)
    await (await looked_at(tabs.first)).ask(QUESTION)
    await (await looked_at(tabs.second)).counted(50)
    await tabs.first.page.close()
    leash.reaches(LAST)
    await assert_counted(tabs.second)
    await tabs.second.kept("done")


async def test_a_question_in_each_tab_makes_one_chat(tabs: Tabs, leash: Leash) -> None:
    leash.reaches(50)
    await (await looked_at(tabs.first)).ask(QUESTION)
    await (await looked_at(tabs.second)).counted(50)
    await tabs.second.ask("Count from 1 to 3")
    leash.reaches(LAST)
    for chat in (tabs.first, tabs.second):
        await looked_at(chat)
        await chat.page.get_by_text("Count from 1 to 3", exact=True).last.wait_for()
        await chat.page.locator("article.assistant:not(.open)").nth(2).wait_for()
    await (await looked_at(tabs.first)).ask("Count from 1 to 4")
    await tabs.first.finished()
    messages = await tabs.first.stored()
    assert len({message["parent"] for message in messages}) == len(messages) == 8


async def test_settings_and_drafts_of_one_tab_are_not_lost_in_the_other(tabs: Tabs) -> None:
    for chat in (tabs.first, tabs.second):
        await chat.page.get_by_role("button", name="New chat").first.click()
    await tabs.first.page.fill("#question", "A thought")
    await tabs.second.page.fill("#question", "Another")
    await tabs.second.page.fill("#question", "")
    await tabs.first.page.get_by_role("button", name="Settings", exact=True).click()
    await tabs.first.page.locator("[name=theme]").select_option("dark")
    await tabs.second.page.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")
    await tabs.second.page.get_by_role("button", name="Settings", exact=True).click()
    await tabs.second.page.locator("[name=language]").select_option("en")
    await tabs.first.page.reload()
    await tabs.first.ready()
    assert await tabs.first.page.get_attribute("html", "data-theme") == "dark"
    assert await tabs.first.page.input_value("#question") == "A thought"
