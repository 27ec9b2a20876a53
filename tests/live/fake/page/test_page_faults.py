"""The chat page where something goes wrong: on a server that counts, so that a gap or a repetition is seen.

The engine is fake; hypercorn, the sockets, the process and the browser are real.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.live.browser.pages import LAST_ANSWER, Cable, Chat, context, opened
from tests.live.servers.held import Leash
from tests.live.servers.server import Server, fake_server, start_fake_server, stop_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAST = 300
QUESTION = f"Count from 1 to {LAST}"
KEY = "a-key-of-the-tests"


def environment(leash: Leash) -> dict[str, str]:
    """Of a server whose answers `leash` holds back."""
    return {"FAKE_PACE_S": "0.005", "FAKE_LEASH": str(leash.path)}


@pytest.fixture
def leash(tmp_path: Path) -> Leash:
    leash = Leash(tmp_path / "leash")
    leash.reaches(LAST)
    return leash


@pytest.fixture
def server(leash: Leash) -> Iterator[Server]:
    with fake_server(env=environment(leash)) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def chat(browser: Browser, server: Server) -> AsyncIterator[Chat]:
    async with opened(browser, server.url) as chat:
        yield chat


async def counted(chat: Chat, leash: Leash, number: int) -> None:
    """Let the answer come so far, and wait until it has."""
    leash.reaches(number)
    await chat.counted(number)


async def assert_counted(chat: Chat, *, restarts: int = 0) -> None:
    """All the numbers are on the page and in what is kept, each once, in their order."""
    await chat.finished()
    assert await chat.numbers() == list(range(1, LAST + 1))
    answer = await chat.answer()
    assert answer["text"].split() == [str(number) for number in range(1, LAST + 1)]
    assert answer["answer"]["state"] == "done"
    assert answer["answer"]["restarts"] == restarts
    assert answer["answer"]["cursor"] is None, "the secret of the answer is kept no longer than needed"


async def test_reloads_in_mid_answer(chat: Chat, leash: Leash) -> None:
    leash.reaches(1)
    await chat.ask(QUESTION)
    for number in (1, 30, 100):
        await counted(chat, leash, number)
        await chat.page.reload()
    leash.reaches(LAST)
    await assert_counted(chat)


async def test_an_answer_that_goes_on_while_the_page_is_away(chat: Chat, leash: Leash) -> None:
    leash.reaches(50)
    await chat.ask(QUESTION)
    await chat.counted(50)
    await chat.page.goto("about:blank")
    leash.reaches(200)
    await chat.page.go_back()
    await counted(chat, leash, 200)
    leash.reaches(LAST)
    await assert_counted(chat)


async def test_a_tab_that_is_closed_in_mid_answer_and_opened_again(
    browser: Browser, server: Server, leash: Leash
) -> None:
    leash.reaches(60)
    async with context(browser) as made:
        first = Chat(await made.new_page(), server.url)
        await first.open()
        await first.ask(QUESTION)
        await first.counted(60)
        path = "/" + await first.page.evaluate("location.hash")
        await first.page.close()
        second = Chat(await made.new_page(), server.url)
        await second.open(path)
        leash.reaches(LAST)
        await assert_counted(second)
        assert first.problems == second.problems == []


async def test_a_socket_that_is_cut_in_mid_answer(browser: Browser, server: Server, leash: Leash) -> None:
    leash.reaches(1)
    async with Cable(server.url) as cable, opened(browser, cable.url) as chat:
        await chat.ask(QUESTION)
        for number in (1, 30, 100):
            await counted(chat, leash, number)
            cable.cut()
        leash.reaches(LAST)
        await assert_counted(chat)
        await chat.status("ready", "resumed")


async def test_a_network_that_is_gone_for_a_while_is_told_and_comes_back(
    browser: Browser, server: Server, leash: Leash
) -> None:
    leash.reaches(50)
    async with Cable(server.url) as cable, opened(browser, cable.url) as chat:
        await chat.ask(QUESTION)
        await chat.counted(50)
        cable.is_torn = True
        cable.cut()
        await chat.status("reconnecting")
        # What is typed meanwhile is not lost either.
        await chat.page.fill("#question", "Still here")
        cable.is_torn = False
        await chat.status("resumed")
        leash.reaches(LAST)
        await assert_counted(chat)
        assert await chat.page.input_value("#question") == "Still here"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
async def test_a_server_that_restarts_in_mid_answer(browser: Browser, leash: Leash, number: int) -> None:
    flags = ("--drain-timeout-s", "0")
    leash.reaches(60)
    server = start_fake_server(*flags, env=environment(leash))
    try:
        async with opened(browser, server.url) as chat:
            await chat.ask(QUESTION)
            await chat.counted(60)
            stop_server(server, number)
            await chat.status("reconnecting")
            server = start_fake_server(*flags, "--port", str(server.port), env=environment(leash))
            leash.reaches(LAST)
            await assert_counted(chat, restarts=1)
            await chat.page.get_by_text("The server lost this answer midway, then continued it.").wait_for()
    finally:
        stop_server(server)


async def test_an_engine_that_loads_is_told_and_waited_for(browser: Browser, tmp_path: Path) -> None:
    loaded = tmp_path / "loaded"
    server = start_fake_server(env={"FAKE_LOADED": str(loaded)}, ready=False)
    try:
        async with context(browser) as made:
            chat = Chat(await made.new_page(), server.url)
            await chat.page.goto(server.url)
            await chat.status("loading")
            stage = chat.page.get_by_text("Loading the model: 1 of 4 files · ")
            await stage.wait_for()
            await chat.ask(QUESTION)
            await chat.page.locator(f"{LAST_ANSWER}.empty").wait_for()
            # Nothing else says it again: not the answer that waits, nor the state of the connection.
            assert await stage.count() == 1
            assert await chat.page.locator("#thread").get_by_text("Waiting for").count() == 0
            box = await chat.page.locator("#status-text").bounding_box()
            assert box is not None
            assert box["width"] <= 1
            await chat.page.reload()
            await chat.status("loading")
            loaded.touch()
            await assert_counted(chat)
            assert chat.problems == []
    finally:
        stop_server(server)


async def test_the_key_is_asked_for_and_a_wrong_one_is_said_to_be_wrong(browser: Browser, leash: Leash) -> None:
    server = start_fake_server(env=environment(leash) | {"TWOWIRE_API_KEYS": KEY})
    leash.reaches(60)
    try:
        async with context(browser) as made:
            chat = Chat(await made.new_page(), server.url)
            await chat.page.goto(server.url)
            await chat.page.get_by_role("dialog").get_by_label("API key").fill("wrong-key-000")
            await chat.page.keyboard.press("Enter")
            await chat.page.get_by_role("alert").filter(has_text="key").wait_for()
            await chat.status("locked")
            await chat.page.get_by_role("dialog").get_by_label("API key").fill(KEY)
            await chat.page.keyboard.press("Enter")
            await chat.ready()
            await chat.ask(QUESTION)
            await chat.counted(60)
            # The key is this tab's: it outlives a reload, and nothing else.
            await chat.page.reload()
            leash.reaches(LAST)
            await assert_counted(chat)
            kept = await chat.page.evaluate("JSON.stringify({...localStorage}) + document.cookie + location.href")
            assert KEY not in kept
            assert KEY not in str(await chat.stored())
            other = Chat(await made.new_page(), server.url)
            await other.page.goto(server.url)
            await other.status("locked")
            assert chat.problems == other.problems == []
    finally:
        stop_server(server)


async def test_an_answer_that_was_cut_by_the_limit_goes_on(browser: Browser, server: Server) -> None:
    async with opened(browser, server.url, sampling={"max_completion_tokens": 100}) as chat:
        await chat.ask(QUESTION)
        for number in (100, 200):
            # The first cut's notice and button stay for a moment after the click.
            await chat.counted(number)
            await chat.page.get_by_text("Stopped at the token limit.").wait_for()
            await chat.tool("Continue")
        await chat.counted(LAST)
        await assert_counted(chat)
        assert (await chat.answer())["answer"]["usage"]["completion"] == LAST


async def test_an_answer_that_was_stopped_goes_on(chat: Chat, leash: Leash) -> None:
    leash.reaches(60)
    await chat.ask(QUESTION)
    await chat.counted(60)
    await chat.page.keyboard.press("Escape")
    await chat.finished()
    assert (await chat.answer())["answer"]["state"] == "stopped"
    leash.reaches(LAST)
    await chat.tool("Continue")
    await chat.counted(LAST)
    await assert_counted(chat)


async def test_what_is_typed_is_not_lost(chat: Chat) -> None:
    page = chat.page
    await page.fill("#question", "A long thought")
    await page.reload()
    await chat.ready()
    assert await page.input_value("#question") == "A long thought"
    await chat.ask("Count from 1 to 3")
    await chat.finished()
    await page.fill("#question", "Another thought")
    await page.get_by_role("button", name="New chat").first.click()
    await page.wait_for_function("() => document.querySelector('#question').value === ''")
    await page.get_by_role("link", name="Count from 1 to 3").click()
    await page.wait_for_function("() => document.querySelector('#question').value === 'Another thought'")


async def test_a_full_queue_is_waited_for(browser: Browser, leash: Leash) -> None:
    leash.reaches(60)
    server = start_fake_server("--max-num-seqs", "1", "--max-queued", "0", env=environment(leash))
    try:
        async with opened(browser, server.url) as chat:
            await chat.ask(QUESTION)
            await chat.counted(60)
            await chat.page.get_by_role("button", name="New chat").first.click()
            await chat.ask(QUESTION)
            await chat.page.locator(f"{LAST_ANSWER}.empty").wait_for()
            leash.reaches(LAST)
            await assert_counted(chat)
    finally:
        stop_server(server)
