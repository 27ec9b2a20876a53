"""The chat page in a real Chromium, for tests: what a reader does and sees, and what the page keeps.

A page that logs an error, or that breaks its policy, fails its test.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page

LIMIT_MS = 60_000
LAST_ANSWER = "article.assistant:last-of-type"
LAST_ID = "(selector) => document.querySelector(selector)?.dataset.id ?? null"

# The browser's own messages about a server that is down or has a self-signed certificate, as in some tests.
NETWORK = re.compile(r"Failed to load resource|WebSocket connection to|net::ERR_|An SSL certificate error")

READ_STORE = """() => new Promise((resolve, reject) => {
  const asking = indexedDB.open("twowire-chat");
  asking.onerror = () => reject(asking.error);
  asking.onsuccess = () => {
    const all = asking.result.transaction("messages").objectStore("messages").getAll();
    all.onsuccess = () => { asking.result.close(); resolve(all.result); };
    all.onerror = () => reject(all.error);
  };
})"""


class Chat:
    """One tab."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.problems: list[str] = []
        page.set_default_timeout(LIMIT_MS)
        page.on("pageerror", lambda error: self.problems.append(f"{error}"))
        page.on("console", self._note)

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not NETWORK.search(message.text):
            self.problems.append(message.text)

    async def open(self, path: str = "/") -> None:
        await self.page.goto(self.url + path)
        await self.ready()

    async def ready(self) -> None:
        """The page is drawn, and says that it is connected."""
        await self.status("ready", "resumed")

    async def status(self, *kinds: str) -> None:
        """Wait until the page says so of its connection."""
        selectors = ", ".join(f"#status[data-kind={kind}]" for kind in kinds)
        await self.page.wait_for_selector(selectors)

    async def ask(self, question: str) -> None:
        """Send it, and wait until its answer has its place on the page."""
        last = await self.page.evaluate(LAST_ID, LAST_ANSWER)
        await self.page.fill("#question", question)
        await self.page.click("#composer [type=submit]")
        await self.page.wait_for_function(
            f"([selector, last]) => ![null, last].includes(({LAST_ID})(selector))", arg=[LAST_ANSWER, last]
        )

    async def streaming(self, chars: int = 1) -> None:
        """Wait until the last answer has so much text, and fail where it has ended by then."""
        await self.page.wait_for_function(
            """([selector, chars]) => {
              const body = document.querySelector(`${selector} .body`);
              return (body?.textContent.length ?? 0) >= chars;
            }""",
            arg=[LAST_ANSWER, chars],
        )
        assert await self.page.locator(f"{LAST_ANSWER}.open").count() == 1, "the answer has ended already"

    async def counted(self, number: int) -> None:
        """Wait until the last answer has counted so far."""
        await self.page.wait_for_function(
            """([selector, number]) => {
              const text = document.querySelector(`${selector} .body`)?.textContent ?? "";
              return Number(text.trim().split(/\\s+/).at(-1)) >= number;
            }""",
            arg=[LAST_ANSWER, number],
        )

    async def finished(self) -> None:
        """Wait until the last answer has ended."""
        await self.page.wait_for_selector(f"{LAST_ANSWER}:not(.open)")

    async def kept(self, state: str) -> None:
        """Wait until the browser keeps an answer that has ended so."""
        async with asyncio.timeout(LIMIT_MS / 1000):
            while True:
                if state in [message["answer"]["state"] for message in await self.stored() if "answer" in message]:
                    return
                await asyncio.sleep(0.05)  # Between two questions.

    async def shown(self) -> str:
        """What the last answer's text is on the page."""
        return await self.page.locator(f"{LAST_ANSWER} .body").inner_text()

    async def numbers(self) -> list[int]:
        """The numbers that the last answer shows: where it counts, a gap or a repetition is seen in them."""
        return [int(word) for word in re.findall(r"\d+", await self.shown())]

    async def tool(self, name: str, message: str = LAST_ANSWER) -> None:
        """Press one of a message's buttons."""
        await self.page.locator(message).last.hover()
        tools = self.page.locator(message).last.locator(".tools")
        await tools.get_by_role("button", name=name, exact=True).click()

    async def stored(self) -> list[dict[str, Any]]:
        """The messages that the browser keeps, oldest first."""
        messages: list[dict[str, Any]] = await self.page.evaluate(READ_STORE)
        return sorted(messages, key=lambda message: message["created"])

    async def answer(self) -> dict[str, Any]:
        """The answer that was begun last, as it is kept."""
        return [message for message in await self.stored() if message["role"] == "assistant"][-1]


@asynccontextmanager
async def opened(
    browser: Browser, url: str, *, sampling: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Chat]:
    """A tab of a browser that has never been here, with the page; `sampling` is set as if by its settings."""
    async with context(browser, sampling=sampling, **options) as made:
        chat = Chat(await made.new_page(), url)
        await chat.open()
        yield chat
        assert chat.problems == []


@asynccontextmanager
async def context(
    browser: Browser, *, sampling: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[BrowserContext]:
    made = await browser.new_context(**{"locale": "en-US", "viewport": {"width": 1200, "height": 800}} | options)
    if sampling is not None:
        preferences = json.dumps(json.dumps({"sampling": sampling}))
        await made.add_init_script(f"localStorage['twowire-preferences'] ??= {preferences};")
    try:
        yield made
    finally:
        # The page says goodbye; the server then cancels what is not to be resumed.
        await made.close()


class Cable:
    """A way to the server that can be cut, as a network is: without a word."""

    def __init__(self, to: str) -> None:
        self._to = urlsplit(to)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.url = ""
        self.is_torn = False
        self.blocks_websockets = False

    async def __aenter__(self) -> Cable:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def lead_to(self, url: str) -> None:
        """Connect to another server from now on."""
        self._to = urlsplit(url)

    def cut(self) -> None:
        """End every connection that there is."""
        for writer in self._writers:
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.is_torn:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(self._to.hostname, self._to.port)
        both = {writer, far_writer}
        self._writers |= both
        try:
            # A handshake has a connection of its own, so the first bytes are enough.
            first = await reader.read(65536)
            if self.blocks_websockets and b"upgrade: websocket" in first.lower():
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                await writer.drain()
                return
            far_writer.write(first)
            await asyncio.gather(_pass_on(reader, far_writer), _pass_on(far_reader, writer))
        finally:
            self._writers -= both
            for one in both:
                one.transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while part := await reader.read(65536):
            writer.write(part)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()
