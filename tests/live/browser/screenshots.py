"""Makes the pictures of the chat in `docs/`: `python -m tests.live.browser.screenshots`.

The bundled guide is asked; what it says is what is seen.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from playwright.async_api import Browser

from tests.live.browser.chromium import launched
from tests.live.browser.pages import Chat, context
from tests.live.servers.server import Server, start_server, stop_server

DOCS = Path(__file__).resolve().parents[3] / "docs"
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


async def take(browser: Browser, server: Server, name: str, *, is_welcome: bool = False, **options: Any) -> None:
    async with context(browser, device_scale_factor=2, **options) as made:
        chat = Chat(await made.new_page(), server.url)
        await chat.open()
        if not is_welcome:
            await fill(chat)
            # Code is coloured once what colours it has been loaded; a plain command gets no colours.
            await chat.page.wait_for_function("document.querySelector('figure[data-language]') === null")
            await chat.page.wait_for_load_state("networkidle")
        await chat.page.mouse.move(0, 0)
        path = DOCS / f"chat-{name}.png"
        await chat.page.screenshot(path=path, animations="disabled")
        print(path.name)


async def main() -> int:
    """All of them."""
    server = await asyncio.to_thread(start_server, "--dtype", "float32")
    try:
        async with launched() as browser:
            await take(browser, server, "light", viewport=DESKTOP, color_scheme="light")
            await take(browser, server, "dark", viewport=DESKTOP, color_scheme="dark")
            await take(browser, server, "phone", viewport=PHONE, color_scheme="light", is_mobile=True, has_touch=True)
            await take(browser, server, "welcome", viewport=DESKTOP, color_scheme="dark", is_welcome=True)
    finally:
        await asyncio.to_thread(stop_server, server)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
