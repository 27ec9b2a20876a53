"""Measures the chat page in a real Chromium, before a paced engine; prints its frames and the time of a large import.

python -m tests.live.browser.figures
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

from playwright.async_api import Browser

from tests.live.browser.chromium import launched
from tests.live.browser.frames import frames
from tests.live.browser.pages import LAST_ANSWER, Chat, opened
from tests.live.fake.page.texts import MARKDOWN, conversation, import_chats
from tests.live.servers.server import fake_server

TOKENS_PER_S = 2500
TOKENS = 4136
CHATS, MESSAGES = 300, 20
ROUNDS = 3
UNTIL_ITS_END = f"while (document.querySelector('{LAST_ANSWER}.open')) await new Promise(requestAnimationFrame);"

PROSE = "A server answers with **events** of `text`, one after another, and the page shows each as it comes. " * 4
USUAL = f"""{PROSE}

- The first point, which is of a usual length for a list.
- The second, with `code` in it.

{PROSE}

```python
def total(numbers: list[int]) -> int:
    return sum(number for number in numbers if number > 0)
```"""


def markdown(section: str, tokens: int = TOKENS) -> str:
    """A text of so many words, which the paced engine makes tokens of."""
    sections: list[str] = []
    while len("\n\n".join(sections).split()) < tokens:
        sections.append(f"## Part {len(sections) + 1}\n\n{section}")
    return "\n\n".join(sections)


def many() -> dict[str, Any]:
    """A file of `CHATS` chats of `MESSAGES` messages each."""
    file = conversation(MESSAGES)
    about, messages = file["conversations"][0], file["messages"]
    file["conversations"], file["messages"] = [], []
    for number in range(CHATS):
        ids = {message["id"]: f"c{number}-{message['id']}" for message in messages}
        chat = {"id": f"c{number}", "title": f"Chat {number}", "leaf": ids[about["leaf"]]}
        file["conversations"].append(about | chat)
        for message in messages:
            own = {"id": ids[message["id"]], "conversation": f"c{number}", "parent": ids.get(message["parent"])}
            file["messages"].append(message | own)
    return file


async def stream(browser: Browser, url: str, kind: str, section: str) -> None:
    async with opened(browser, url, bypass_csp=True) as chat:
        await chat.ask(f"Say: {markdown(section)}")
        begun = time.monotonic()
        measured = await frames(chat.page, UNTIL_ITS_END)
        took = time.monotonic() - begun
        tasks = measured.pop("longTasks")
        print(f"{TOKENS} tokens of {kind} in {took:.2f} s: {measured} ms; tasks over 50 ms: {tasks}")


async def bring_in(browser: Browser, url: str) -> None:
    async with opened(browser, url, bypass_csp=True) as chat:
        file = many()
        begun = time.monotonic()
        await import_chats(chat, file)
        await shown(chat)
        imported = time.monotonic() - begun
        begun = time.monotonic()
        await chat.page.reload()
        await shown(chat)
        reloaded = time.monotonic() - begun
        print(f"{CHATS} chats, {CHATS * MESSAGES} messages: import {imported:.2f} s, reload {reloaded:.2f} s")


async def shown(chat: Chat) -> None:
    await chat.page.wait_for_function(f"document.querySelectorAll('#conversations a').length === {CHATS}")


async def main() -> int:
    with fake_server(env={"FAKE_PACE_S": str(1 / TOKENS_PER_S)}) as server:
        async with launched() as browser:
            for _ in range(ROUNDS):
                await stream(browser, server.url, "usual Markdown", USUAL)
                await stream(browser, server.url, "tables, code and formulas alone", MARKDOWN)
                await bring_in(browser, server.url)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
