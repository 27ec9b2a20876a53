"""Makes the pictures of the chat in `docs/pictures/`: `python -m tests.live.browser.screenshots [NAME…]`.

The bundled guide is asked; what it says is what is seen.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

from playwright.async_api import Browser

from tests.live.browser.chromium import launched
from tests.live.browser.pages import Chat, context
from tests.live.servers.server import Server, start_server, stop_server

PICTURES = Path(__file__).resolve().parents[3] / "docs" / "pictures"
DESKTOP = {"width": 1180, "height": 860}
PHONE = {"width": 390, "height": 800}

CHATS = (
    ("How do I serve my own model?", "And on a GPU?"),
    ("What happens when my connection drops?",),
    ("What is this server?", "How do I cancel a running chat?"),
)


async def fill(chat: Chat) -> None:
    """Fill the page with conversations; the last of them is shown."""
    for questions in CHATS:
        await chat.page.get_by_role("button", name="New chat").first.click()
        for question in questions:
            await chat.ask(question)
            await chat.finished()
    await chat.page.locator("article.assistant").last.wait_for()
    await chat.page.evaluate("document.querySelector('#toasts').replaceChildren(); document.activeElement.blur()")


async def inspect(chat: Chat) -> None:
    """Watch the frames of an answer, the connection of which is cut once."""
    page = chat.page
    await page.get_by_role("button", name="Wire inspector").click()
    await page.get_by_role("region", name="Wire inspector").wait_for()
    await chat.ask("What happens when my connection drops?")
    await chat.finished()
    await page.locator("#inspector tbody tr", has_text="[DONE]").wait_for()
    await page.locator("#inspector tbody tr:has(th)").nth(2).get_by_role("button").click()


async def compare(chat: Chat) -> None:
    """Run two columns of the bench, and compare their texts."""
    page = chat.page
    await page.get_by_role("link", name="Bench").click()
    await page.get_by_label("Token probabilities").check()
    second = page.get_by_role("article", name="Column B")
    await second.get_by_label("Max tokens").fill("60")
    await page.locator("#bench-prompt").fill("How do I cancel a running chat?")
    await page.get_by_role("button", name="Run all").click()
    await page.get_by_text("Finished: 2").wait_for()
    await page.get_by_role("button", name="Compare").click()
    await page.evaluate("document.querySelector('#bench').scrollTo(0, 0)")


async def take(
    browser: Browser, server: Server, name: str, scene: Callable[[Chat], Awaitable[None]] | None, **options: Any
) -> None:
    """Take the picture of what `scene` leaves on the page."""
    async with context(browser, device_scale_factor=2, **options) as made:
        chat = Chat(await made.new_page(), server.url)
        await chat.open()
        if scene is not None:
            await scene(chat)
            # Code is coloured once what colours it has been loaded; a plain command gets no colours.
            await chat.page.wait_for_function("document.querySelector('figure[data-language]') === null")
            await chat.page.wait_for_load_state("networkidle")
        await chat.page.mouse.move(0, 0)
        path = PICTURES / f"chat-{name}.png"
        await chat.page.screenshot(path=path, animations="disabled")
        print(path.name)


async def main(names: Collection[str]) -> int:
    """Those with these names; all without any."""
    server = await asyncio.to_thread(start_server, "--dtype", "float32")
    try:
        async with launched() as browser:
            desktop: dict[str, Any] = {"viewport": DESKTOP}
            phone: dict[str, Any] = {"viewport": PHONE, "is_mobile": True, "has_touch": True}
            for name, scene, scheme, device in (
                ("light", fill, "light", desktop),
                ("dark", fill, "dark", desktop),
                ("welcome", None, "dark", desktop),
                ("inspector", inspect, "light", desktop),
                ("bench", compare, "light", {"viewport": DESKTOP | {"height": 1060}}),
                ("phone", fill, "light", phone),
            ):
                if not names or name in names:
                    await take(browser, server, name, scene, color_scheme=scheme, **device)
    finally:
        await asyncio.to_thread(stop_server, server)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
