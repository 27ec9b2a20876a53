"""Makes the pictures of the chat in `docs/`: `python -m tests.live.screenshots`.

With the bundled guide, it is asked; what it says is what is seen. Without, the page shows a conversation that was
prepared, on an engine that only counts.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from playwright.async_api import Browser

from tests.live.browser import launched
from tests.live.conftest import MODEL, Server, start_fake_server, start_server, stop_server
from tests.live.pages import Chat, context

DOCS = Path(__file__).resolve().parents[2] / "docs"
DESKTOP = {"width": 1180, "height": 860}
PHONE = {"width": 390, "height": 800}
GUIDE = "guide"

CHATS = (
    ("How do I serve my own model?", "And on a GPU?"),
    ("What happens when my connection drops?",),
    ("Which wires are there?", "How do I cancel a chat from elsewhere?"),
)
PREPARED = {
    "How do I serve my own model?": "Give its folder to `--model`:\n\n```bash\ntwowire serve --model ./my-model\n```",
    "And on a GPU?": "Install the extra `cuda` into an environment of its own, and serve from there.",
    "What happens when my connection drops?": "The answer goes on at the server, and the page reads on where it was.",
    "Which wires are there?": (
        "There are **two**, and they carry the same chunks:\n\n| | HTTP | WebSocket |\n|---|---|---|\n"
        "| Chats on a connection | one | many |\n| Cancel | close it | a message |\n| Resume | yes | yes |"
    ),
    "How do I cancel a chat from elsewhere?": (
        "Delete it by its id:\n\n```python\nimport httpx\n\n\ndef cancel(completion_id: str) -> None:\n"
        '    url = f"http://127.0.0.1:8000/v1/chat/completions/{completion_id}"\n'
        "    httpx.delete(url).raise_for_status()\n```\n\n"
        "The engine stops at once, and whoever reads it gets what was made until then."
    ),
}


def prepared() -> str:
    """A file of conversations, as the page saves them."""
    about: list[dict[str, Any]] = []
    messages: list[dict[str, Any]] = []
    for number, questions in enumerate(CHATS):
        parent, now = None, 1_795_000_000_000 + 1000 * number
        for question in questions:
            for role, text in (("user", question), ("assistant", PREPARED[question])):
                message = {"id": f"{len(messages)}", "conversation": f"c{number}", "parent": parent, "role": role}
                messages.append(message | {"text": text, "created": now + len(messages), "answer": {"state": "done"}})
                parent = message["id"]
        title = {"title": questions[0], "isNamed": False, "created": now, "updated": now, "leaf": parent}
        about.append({"id": f"c{number}", **title})
    return json.dumps({"format": "twowire-chats", "version": 1, "conversations": about, "messages": messages})


async def fill(chat: Chat) -> None:
    """Fill the page with conversations; the last of them is shown."""
    if MODEL != GUIDE:
        file = {"name": "chats.json", "mimeType": "application/json", "buffer": prepared().encode()}
        await chat.page.set_input_files("#import-file", files=[file])  # type: ignore[arg-type]  # a FilePayload
        if await chat.page.locator("#menu").is_visible():
            await chat.page.locator("#menu").click()
        await chat.page.get_by_role("link", name=CHATS[-1][0]).click()
    else:
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
            if await chat.page.locator("pre").count():
                await chat.page.locator("pre [class^=hljs]").first.wait_for()
        await chat.page.mouse.move(0, 0)
        path = DOCS / f"chat-{name}.png"
        await chat.page.screenshot(path=path, animations="disabled")
        print(path.name)


async def main() -> int:
    """All of them."""
    server = await asyncio.to_thread(start_server if MODEL == GUIDE else start_fake_server)
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
