"""The chat page in a real Chromium, on the real server with the bundled model: what a reader does with it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.live.browser.pages import LAST_ANSWER, Cable, Chat, opened
from tests.live.servers.server import MODEL, Server

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

LAST = 300
QUESTION = f"Count from 1 to {LAST}"
GREEDY = {"temperature": 0, "max_completion_tokens": 700}


@pytest_asyncio.fixture(loop_scope="module")
async def chat(browser: Browser, server: Server) -> AsyncIterator[Chat]:
    async with opened(browser, server.url, sampling=GREEDY) as chat:
        yield chat


@pytest.fixture(scope="module")
def whole(shared_server: Server) -> str:
    """What the model says to the question, asked over HTTP: greedy text is the same, however it travels."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], **GREEDY}
    answer = httpx.post(f"{shared_server.url}/v1/chat/completions", json=body, timeout=120).json()
    text = str(answer["choices"][0]["message"]["content"])
    assert [int(word) for word in re.findall(r"\d+", text)] == list(range(1, LAST + 1))
    return text


async def test_an_answer_is_streamed_and_kept_and_its_speed_is_told(chat: Chat, whole: str) -> None:
    await chat.ask(QUESTION)
    await chat.finished()
    answer = await chat.answer()
    assert answer["text"] == whole
    assert answer["answer"]["state"] == "done"
    facts = await chat.page.locator(f"{LAST_ANSWER} .facts").inner_text()
    # A browser that is busy meanwhile may read all of it at once, which tells no speed.
    has_speed = answer["answer"]["last"] - answer["answer"]["first"] >= 100
    times = r"[\d.,]+ s to first token · [\d.,]+ tokens/s" if has_speed else r"[\d.,]+ s"
    assert re.fullmatch(rf"{times} · [\d,]+ tokens, [\d,]+ in the prompt", facts)
    assert answer["answer"]["usage"]["completion"] > 100


@pytest.mark.usefixtures("slow_engine")
async def test_stop_frees_the_engine_and_keeps_the_text(chat: Chat, server: Server, whole: str) -> None:
    await chat.ask(QUESTION)
    await chat.streaming(20)
    assert server.in_engine() > 0
    await chat.page.get_by_role("button", name="Stop", exact=True).click()
    await chat.finished()
    server.wait_idle()
    answer = await chat.answer()
    assert answer["answer"]["state"] == "stopped"
    assert whole.startswith(answer["text"])
    assert 0 < len(answer["text"]) < len(whole)


async def test_a_stopped_answer_goes_on_where_it_was(chat: Chat, whole: str, slow_engine: Callable[[], None]) -> None:
    await chat.ask(QUESTION)
    await chat.streaming(20)
    await chat.page.keyboard.press("Escape")
    await chat.finished()
    begun = (await chat.answer())["text"]
    assert whole.startswith(begun)
    await chat.tool("Continue")
    slow_engine()
    # What the model makes of a text that ends in white space is its own affair: such a text has other tokens than those
    # that it wrote. That nothing is lost or repeated is held where the engine counts, in `test_page_faults`.
    await chat.kept("done")
    assert (await chat.answer())["text"].startswith(begun)


async def test_another_answer_and_another_question_are_branches(chat: Chat) -> None:
    await chat.ask("Hello")
    await chat.finished()
    await chat.tool("Regenerate")
    await chat.page.get_by_text("2 / 2").wait_for()
    await chat.finished()
    await chat.tool("Edit", "article.user")
    await chat.page.fill(".edit textarea", "What is this?")
    await chat.page.press(".edit textarea", "Enter")
    await chat.page.locator("article.user").get_by_text("2 / 2").wait_for()
    await chat.finished()
    stored = await chat.stored()
    assert [message["role"] for message in stored] == ["user", "assistant", "assistant", "user", "assistant"]
    assert stored[1]["parent"] == stored[2]["parent"] == stored[0]["id"]
    assert stored[3]["parent"] is None
    # Back to the first question: of its two answers, the later one is shown.
    await chat.tool("Previous version", "article.user")
    assert await chat.page.locator("article.user .bubble").inner_text() == "Hello"
    assert await chat.page.locator(LAST_ANSWER).get_attribute("data-id") == stored[2]["id"]


async def test_two_conversations_stream_side_by_side_on_one_socket(
    chat: Chat, server: Server, whole: str, slow_engine: Callable[[], None]
) -> None:
    await chat.ask(QUESTION)
    await chat.streaming()
    await chat.page.get_by_role("button", name="New chat").first.click()
    await chat.ask(QUESTION)
    await chat.streaming()
    assert server.metric("twowire_sequences_in_engine") == 2
    assert server.metric("twowire_websockets") == 1
    assert await chat.page.locator("#conversations .busy").count() == 2
    slow_engine()
    await chat.finished()
    await chat.page.locator("#conversations .busy").first.wait_for(state="detached")
    await chat.page.wait_for_function("() => document.querySelector('#conversations .busy') === null")
    assert [message["text"] for message in await chat.stored() if message["role"] == "assistant"] == [whole, whole]


async def test_a_reload_in_mid_answer_loses_and_repeats_nothing(
    chat: Chat, whole: str, slow_engine: Callable[[], None]
) -> None:
    await chat.ask(QUESTION)
    await chat.streaming(20)
    await chat.page.reload()
    await chat.streaming(30)
    await chat.page.reload()
    slow_engine()
    await chat.finished()
    answer = await chat.answer()
    assert answer["text"] == whole
    assert answer["answer"]["restarts"] == 0, "it was read on in, not begun anew"


async def test_a_cut_socket_in_mid_answer_loses_and_repeats_nothing(
    browser: Browser, server: Server, whole: str, slow_engine: Callable[[], None]
) -> None:
    async with Cable(server.url) as cable, opened(browser, cable.url, sampling=GREEDY) as chat:
        await chat.ask(QUESTION)
        for chars in (20, 50):
            await chat.streaming(chars)
            cable.cut()
        slow_engine()
        await chat.finished()
        answer = await chat.answer()
        assert answer["text"] == whole
        assert answer["answer"]["restarts"] == 0


async def test_on_a_phone_the_list_lies_over_the_chat(browser: Browser, server: Server) -> None:
    phone = {"viewport": {"width": 360, "height": 700}, "has_touch": True, "is_mobile": True}
    async with opened(browser, server.url, sampling={"max_completion_tokens": 30}, **phone) as chat:
        await chat.ask("Hello")
        await chat.finished()
        page = chat.page
        wide = await page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360, "it would scroll sideways"
        assert not await page.locator("#sidebar").is_visible()
        await page.get_by_role("button", name="Show or hide chats").first.tap()
        await page.get_by_role("link", name="Hello").wait_for()
        await page.get_by_role("button", name="New chat").first.tap()
        await page.locator("#welcome").wait_for()
        await page.locator("#sidebar").wait_for(state="hidden")
        box = await page.locator("#composer [type=submit]").bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 36


async def test_everything_can_be_done_by_keyboard(chat: Chat) -> None:
    page = chat.page
    keys = page.keyboard

    async def focus_by_tab(name: str) -> None:
        for _ in range(60):
            label = await page.evaluate(
                "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent.trim()"
            )
            if label == name:
                return
            await keys.press("Tab")
        pytest.fail(f"no Tab leads to {name!r}")

    await keys.type("Hello")
    await keys.press("Enter")
    await chat.finished()
    await focus_by_tab("Edit")
    await keys.press("Enter")
    await keys.press("ControlOrMeta+A")
    await keys.type("What is this?")
    await keys.press("Enter")
    await page.locator("article.user").get_by_text("2 / 2").wait_for()
    await chat.finished()
    await focus_by_tab("Rename: What is this?")
    await keys.press("Enter")
    await keys.press("ControlOrMeta+A")
    await keys.type("A name")
    await keys.press("Enter")
    await page.get_by_role("link", name="A name").wait_for()
    await keys.press("ControlOrMeta+Shift+O")
    await page.locator("#welcome").wait_for()
    await keys.press("ControlOrMeta+K")
    await keys.type("name")
    await page.get_by_role("link", name="A name").focus()
    await keys.press("Enter")
    await page.locator("article.user").wait_for()
    await keys.press("ControlOrMeta+K")
    await keys.press("Escape")
    await focus_by_tab("Settings")
    await keys.press("Enter")
    await page.locator("dialog[open]").wait_for()
    await keys.press("Escape")
    await page.locator("dialog[open]").wait_for(state="detached")
    await focus_by_tab("Delete: A name")
    await keys.press("Enter")
    await page.get_by_text("Your chats will appear here.").wait_for()
    assert await chat.stored() == []


async def test_what_is_set_is_what_is_asked_with(chat: Chat) -> None:
    sent: list[dict[str, object]] = []
    async with chat.page.expect_websocket() as opening:
        await chat.page.reload()
    socket = await opening.value
    socket.on("framesent", lambda frame: sent.append(json.loads(frame)))
    await chat.ready()
    await chat.page.get_by_role("button", name="Settings", exact=True).click()
    form = chat.page.locator("#settings-form")
    values = {"system": "Be brief.", "temperature": "0.5", "top_p": "0.9", "max_completion_tokens": "7", "seed": "11"}
    for name, value in values.items():
        await form.locator(f"[name={name}]").fill(value)
    await form.locator("[name=stop]").fill("END\n\\n\\n")
    await chat.page.keyboard.press("Escape")
    await chat.ask("Hello")
    await chat.finished()
    (body,) = [frame["body"] for frame in sent if frame["type"] == "chat.completion.create"]
    assert body == {
        "model": MODEL,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_completion_tokens": 7,
        "seed": 11,
        "stop": ["END", "\n\n"],
    }
    usage = (await chat.answer())["answer"]["usage"]
    assert 0 < usage["completion"] <= 7


async def test_an_answer_whose_server_is_gone_is_continued_by_another(
    browser: Browser, server: Server, other_server: Server, slow_engine: Callable[[], None]
) -> None:
    """As by the same server, killed and started again: what it knew of the answer is gone. On the counting engine it
    is killed: `test_a_server_that_restarts_in_mid_answer`."""
    async with Cable(server.url) as cable, opened(browser, cable.url, sampling=GREEDY) as chat:
        await chat.ask(QUESTION)
        await chat.streaming(40)
        cable.is_torn = True
        cable.cut()
        await chat.status("reconnecting", "connecting")
        begun = (await chat.answer())["text"]
        slow_engine()
        cable.lead_to(other_server.url)
        cable.is_torn = False
        await chat.kept("done")
        answer = await chat.answer()
        assert answer["answer"]["restarts"] == 1
        assert answer["text"].startswith(begun)
