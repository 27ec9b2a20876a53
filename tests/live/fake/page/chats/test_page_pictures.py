"""Images on the chat page: chosen, dropped, sent, kept; refused where the model takes none."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Route, expect

from tests.live.browser.pages import Chat, context
from tests.live.fake.page.axe import findings
from tests.live.servers.server import Server, fake_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUESTION = "Count from 1 to 3"
DROP = """async ([name, type, width, height]) => {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  canvas.getContext("2d").fillRect(0, 0, width, height / 2);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, type));
  const data = new DataTransfer();
  data.items.add(new File([blob], name, { type }));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with fake_server(env={"FAKE_SEES": "1", "FAKE_PACE_S": "0.002"}) as server:
        yield server


async def add_a_blind_one(route: Route) -> None:
    """Add a model to the server's list."""
    models = await (await route.fetch()).json()
    models["data"].append({"id": "blind", "type": "chat", "input_modalities": ["text"]})
    await route.fulfill(json=models)


@pytest_asyncio.fixture(loop_scope="module")
async def chat(browser: Browser, server: Server) -> AsyncIterator[Chat]:
    """A chat with two models, of which the first takes images."""
    async with context(browser, bypass_csp=True) as made:
        await made.route("**/v1/models", add_a_blind_one)
        chat = Chat(await made.new_page(), server.url)
        await chat.open()
        yield chat
        assert chat.problems == []


async def test_an_image_is_scaled_down_sent_shown_and_kept(chat: Chat, axe: str) -> None:
    page = chat.page
    sent: list[dict[str, Any]] = []
    async with page.expect_websocket() as opening:
        await page.reload()
    (await opening.value).on("framesent", lambda frame: sent.append(json.loads(frame)))
    await chat.ready()
    await page.evaluate(DROP, ["wide.png", "image/png", 3072, 1024])
    await page.evaluate(DROP, ["unwanted.jpg", "image/jpeg", 50, 50])
    await page.get_by_role("button", name="Remove unwanted.jpg").click()
    await page.evaluate(DROP, ["photo.jpg", "image/jpeg", 60, 40])
    assert await findings(page, axe) == []
    await chat.ask(QUESTION)
    await chat.finished()
    answer = (await chat.answer())["answer"]
    assert (answer["state"], answer["error"]) == ("done", None)
    (body,) = [frame["body"] for frame in sent if frame["type"] == "chat.completion.create"]
    first, second, text = body["messages"][0]["content"]
    assert first["image_url"]["url"].startswith("data:image/png;base64,")
    assert second["image_url"]["url"].startswith("data:image/jpeg;base64,")
    assert text == {"type": "text", "text": QUESTION}
    await expect(page.locator("#composer img")).to_have_count(0)
    await page.reload()
    images = page.locator("article.user img")
    await expect(images).to_have_count(2)
    await page.wait_for_function("document.querySelector('article.user img').naturalWidth > 0")
    assert await images.evaluate_all(
        "images => images.map((one) => [one.alt, one.naturalWidth, one.naturalHeight])"
    ) == [
        ["wide.png", 1536, 512],
        ["photo.jpg", 60, 40],
    ]
    # Another wording of the question has the same images.
    await chat.tool("Edit", "article.user")
    await page.fill(".edit textarea", "Count from 1 to 4")
    await page.press(".edit textarea", "Enter")
    await page.locator("article.user").get_by_text("2 / 2").wait_for()
    assert [len(one["pictures"]) for one in await chat.stored() if one["role"] == "user"] == [2, 2]


async def test_an_image_alone_is_a_question_and_not_for_every_model(chat: Chat) -> None:
    page = chat.page
    await page.get_by_role("combobox", name="Model").select_option("blind")
    await page.evaluate(DROP, ["a.png", "image/png", 9, 9])
    await page.get_by_text("a.png: this model takes no images.").wait_for()
    await page.get_by_role("combobox", name="Model").select_option(index=0)
    async with page.expect_file_chooser() as choosing:
        await page.get_by_role("button", name="Add files").click()
    broken = {"name": "broken.png", "mimeType": "image/png", "buffer": b"not a picture"}
    await (await choosing.value).set_files(broken)  # type: ignore[arg-type]  # a FilePayload
    await page.get_by_text("broken.png is not an image that this browser can read.").wait_for()
    await page.evaluate(DROP, ["a.png", "image/png", 9, 9])
    await page.locator("#composer img").wait_for()
    await page.get_by_role("button", name="Send").click()
    await page.locator("article.user img").wait_for()
    await expect(page.locator("#conversations").get_by_role("link", name="a.png")).to_be_visible()
