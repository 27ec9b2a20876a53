"""Everyday actions: dropping files, recalling a question, several chats, waiting."""

from __future__ import annotations

import json
import re

import pytest
from playwright.async_api import Browser, expect

from tests.live.browser.pages import LAST_ANSWER, Cable, Chat, context, opened
from tests.live.fake.page.texts import conversation, import_chats, said
from tests.live.servers.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

DROP = """([name, text, times]) => {
  const data = new DataTransfer();
  data.items.add(new File([text.repeat(times)], name));
  const init = { dataTransfer: data, bubbles: true, cancelable: true };
  const isTaken = (type) => !document.body.dispatchEvent(new DragEvent(type, init));
  return [isTaken("dragover"), isTaken("drop")];
}"""

SELECT = """async () => {
  const { RichText, prepareRichText } = await import("/static/chat/text/rich-text.js");
  await prepareRichText();
  const root = document.createElement("div");
  document.body.append(root);
  const rich = new RichText(root);
  rich.show("Some words", false);
  getSelection().selectAllChildren(root.querySelector("p"));
  rich.show("Some words and more", false);
  const kept = String(getSelection());
  getSelection().removeAllRanges();
  rich.show("Some words and more", false);
  const later = root.textContent.trim();
  root.remove();
  return [kept, later];
}"""


LEAVE = """() => new MutationObserver((records, observer) => {
  if (document.querySelector("article.assistant.open") === null) return;
  observer.disconnect();
  document.querySelector("#new").click();
}).observe(document.querySelector("#thread"), { childList: true, subtree: true })"""


async def test_a_dropped_text_file_becomes_part_of_the_question(chat: Chat) -> None:
    page = chat.page
    await page.fill("#question", "What is this?")
    assert await page.evaluate(DROP, ["notes.py", "x = '```'\r\n", 1]) == [True, True]
    await expect(page.locator("#question")).to_have_value("What is this?\n\nnotes.py:\n````py\nx = '```'\n````\n")
    await page.evaluate(DROP, ["picture.png", "PNG\0", 1])
    await page.get_by_text("picture.png is not a text file.").wait_for()
    await page.evaluate(DROP, ["long.txt", "A", 513 * 1024])
    await page.get_by_text("long.txt is larger than 512 KB.").wait_for()


async def test_a_question_is_recalled_and_the_box_keeps_the_focus(chat: Chat) -> None:
    page = chat.page
    await chat.ask("Say: one")
    box = page.locator("#question")
    await expect(box).to_be_focused()
    await chat.finished()
    await page.keyboard.press("ArrowUp")
    await expect(box).to_have_value("Say: one")
    await box.fill("")
    await page.keyboard.press("ControlOrMeta+z")
    await expect(box).to_have_value("Say: one")
    # In a chat without questions there is nothing to recall.
    await page.get_by_role("button", name="New chat").first.click()
    await page.keyboard.press("ArrowUp")
    await expect(box).to_have_value("")


async def test_an_answer_that_ends_out_of_sight_leaves_a_mark(chat: Chat) -> None:
    page = chat.page
    # As soon as it begins: it may end before a click from here arrives.
    await page.evaluate(LEAVE)
    await page.fill("#question", "Count from 1 to 300")
    await page.press("#question", "Enter")
    await page.get_by_role("img", name="New answer").wait_for()
    await expect(page).to_have_title("(1) twowire")
    await page.get_by_role("link", name="Count from 1 to 300").click()
    await expect(page).to_have_title("Count from 1 to 300 · twowire")
    await expect(page.get_by_role("img", name="New answer")).to_have_count(0)


async def test_selected_text_stays_selected_while_an_answer_grows(chat: Chat) -> None:
    assert await chat.page.evaluate(SELECT) == ["Some words", "Some words and more"]


async def test_a_table_on_a_phone_is_wider_than_the_phone(browser: Browser, server: Server) -> None:
    async with opened(browser, server.url, viewport={"width": 390, "height": 800}) as chat:
        words = "some words that go on for a while "
        await said(chat, f"| One | Two | Three | Four |\n|---|---|---|---|\n|{'|'.join([words * 2] * 4)}|")
        widths = await chat.page.locator(f"{LAST_ANSWER} td").evaluate_all("all => all.map((one) => one.offsetWidth)")
        assert min(widths) > 150
        assert await chat.page.evaluate("document.documentElement.scrollWidth") <= 390


async def test_a_key_that_was_not_given_can_be_given_later(browser: Browser, server: Server) -> None:
    async with context(browser) as made:
        refusal = {"error": {"message": "A key is needed.", "code": "invalid_api_key"}}
        await made.route("**/v1/models", lambda route: route.fulfill(status=401, json=refusal))
        chat = Chat(await made.new_page(), server.url)
        await chat.page.goto(server.url)
        await chat.page.locator("#key-dialog[open]").wait_for()
        await chat.page.keyboard.press("Escape")
        await chat.page.get_by_role("button", name="Enter API key").click()
        await chat.page.locator("#key-dialog[open]").wait_for()


async def test_a_server_that_is_away_is_waited_for_in_words(browser: Browser, server: Server) -> None:
    async with Cable(server.url) as cable, opened(browser, cable.url) as chat:
        page = chat.page
        await chat.ask("Count from 1 to 2000")
        await chat.counted(5)
        cable.is_torn = True
        cable.cut()
        await page.get_by_text("The server has not answered for ").wait_for()
        await expect(page.locator(f"{LAST_ANSWER} .notice")).to_contain_text("Waiting for the server")
        again = page.get_by_role("button", name="Try now")
        await expect(again).to_be_visible()
        cable.is_torn = False
        # Without waiting for the button: the page may connect by itself at any moment, which takes it away.
        await page.locator("#again").dispatch_event("click")
        await chat.finished()
        assert await chat.numbers() == list(range(1, 2001))
        await expect(page.locator("#progress")).to_be_hidden()


async def test_shortcuts_are_listed_and_work(chat: Chat) -> None:
    page = chat.page
    box, sheet = page.locator("#question"), page.get_by_role("dialog", name="Keyboard shortcuts")
    await said(chat, "One answer.")
    await box.focus()
    await page.keyboard.press("?")
    await expect(box).to_have_value("?")
    await box.fill("")
    await page.locator("#scroller").focus()
    await page.keyboard.press("?")
    await expect(sheet).to_contain_text("Copy the last answer")
    await page.keyboard.press("Escape")
    await expect(sheet).to_have_count(0)
    await page.keyboard.press("/")
    await expect(box).to_be_focused()
    await expect(box).to_have_value("")
    await page.keyboard.press("Control+Shift+E")
    editing = page.get_by_role("textbox", name="Edit the question")
    await expect(editing).to_have_value("Say: One answer.")
    await expect(editing).to_be_focused()
    await page.keyboard.press("Escape")
    await page.keyboard.press("Control+Shift+C")
    await page.get_by_text("The answer was copied.").wait_for()
    await page.keyboard.press("Control+Shift+S")
    await expect(page.locator("#sidebar")).to_be_hidden()
    await page.keyboard.press("Control+Shift+S")
    await expect(page.locator("#sidebar")).to_be_visible()


async def test_shortcuts_without_a_modifier_can_be_turned_off(chat: Chat) -> None:
    page = chat.page
    box, sheet = page.locator("#question"), page.get_by_role("dialog", name="Keyboard shortcuts")
    await box.press("Control+/")
    await sheet.get_by_role("checkbox").uncheck()
    await page.keyboard.press("Escape")
    await expect(sheet).to_have_count(0)
    await page.reload()
    await chat.ready()
    await page.locator("#scroller").focus()
    await page.keyboard.press("/")
    await page.keyboard.press("?")
    # Only once this one has come are the others known to have done nothing.
    await page.keyboard.press("Control+/")
    await expect(sheet).to_have_count(1)
    await expect(box).to_have_value("")
    await expect(sheet.get_by_role("checkbox")).not_to_be_checked()


async def test_a_running_chat_shows_its_last_words_and_can_be_stopped_in_the_list(chat: Chat) -> None:
    page = chat.page
    await chat.ask("Count from 1 to 20000")
    await page.get_by_role("button", name="New chat").first.click()
    words = page.locator("#conversations .words > :first-child")
    await expect(page.locator("#conversations .words > :last-child")).to_have_text(re.compile(r"^≈ [\d.,]+ tokens/s$"))
    await expect(words).to_have_text(re.compile(r"^…\d+( \d+)+$"))
    before = await words.inner_text()
    await expect(words).not_to_have_text(before)
    await page.get_by_role("button", name="Stop: Count from 1 to 20000").click()
    await chat.kept("stopped")
    await expect(words).to_have_count(0)


async def test_the_whole_chat_is_printed_and_nothing_else(chat: Chat) -> None:
    page = chat.page
    await import_chats(chat, conversation(40))
    await page.get_by_role("link", name="A long one").click()
    await page.get_by_text("Question 38", exact=True).wait_for()
    assert await page.locator("article.assistant table").count() < 20, "those out of sight are not rendered"
    pages = len(re.findall(rb"/Type\s*/Page\b", await page.pdf(format="A4")))
    assert pages > 5
    assert await page.locator("article.assistant table").count() == 20
    await page.emulate_media(media="print")
    for hidden in ("#sidebar", "#composer", "#status", "#model", ".tools", ".copy"):
        await expect(page.locator(hidden).first).to_be_hidden()
    await expect(page.get_by_role("heading", name="A long one")).to_be_visible()
    tall = await page.evaluate(
        "[document.documentElement.scrollHeight, document.querySelector('#thread').scrollHeight]"
    )
    assert tall[0] >= tall[1] > 3000


async def test_a_long_dialogue_is_read_ahead_while_the_next_question_is_typed(chat: Chat) -> None:
    page = chat.page
    sent: list[str] = []
    async with page.expect_websocket() as opening:
        await page.reload()
    socket = await opening.value
    socket.on("framesent", lambda frame: sent.append(str(frame)))
    await chat.ready()
    await page.fill("#question", "Short")
    await said(chat, "Many words. " * 200)
    async with socket.expect_event("framereceived", lambda frame: "prefilled" in str(frame)) as answered:
        await page.fill("#question", "Something secret")
    assert json.loads(await answered.value)["status"] == "completed"
    (asked,) = [json.loads(frame) for frame in sent if "completion.prefill" in frame]
    roles = [message["role"] for message in asked["body"]["messages"]]
    assert roles == ["user", "assistant", "user"]
    assert asked["body"]["messages"][-1]["content"] == "…", "what is typed is not sent before it is meant to be"
    await said(chat, "Done.")
