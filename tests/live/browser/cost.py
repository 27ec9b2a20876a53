"""Measures what an answer costs the chat page: CPU time of its main thread for 1,000 tokens, by quarters of the answer.

python -m tests.live.browser.cost [FOLDER] [TOKENS]

The page draws once for 42 tokens, as at 2,500 tokens and 60 frames a second. A socket that answers by itself stands in
for the server, and only CPU time counts, so that a busy machine changes little. With a FOLDER, the `static` of another
version, its page is measured in turn with this one.
"""

from __future__ import annotations

import asyncio
import mimetypes
import re
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from playwright.async_api import Browser, CDPSession, Page, Route

from tests.live.browser import chromium
from tests.live.browser.figures import TOKENS, USUAL, markdown
from tests.live.browser.pages import Chat, context
from tests.live.fake.page.texts import MARKDOWN
from tests.live.servers.server import fake_server

ROUNDS = 3
TOKENS_PER_FRAME = 42
QUARTERS = 4
# The pages of another version come from this program, and Chromium does not count those among the computer's own.
FLAG = "--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets"

# The page's frames come when they are asked for, and it takes drawing for free, so that it never puts it off.
STAND_IN = """(() => {
  const frame = requestAnimationFrame.bind(globalThis);
  let isGated = false, waiting = [];
  performance.now = () => 0;
  globalThis.requestAnimationFrame = (draw) => (isGated ? waiting.push(draw) : frame(draw));
  const turn = () => new Promise((go) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = go;
    port2.postMessage(0);
  });
  const drawn = () => new Promise((go) => frame((time) => { for (const draw of waiting.splice(0)) draw(time); go(); }));
  globalThis.WebSocket = class extends WebSocket {
    send(frame) {
      const { type, stream_id } = JSON.parse(frame);
      if (type !== "chat.completion.create") return super.send(frame);
      const put = (answer) => {
        this.dispatchEvent(new MessageEvent("message", { data: JSON.stringify({ stream_id, ...answer }) }));
      };
      let seq = 0;
      globalThis.grow = async (pieces, step) => {
        isGated = true;
        for (const [index, content] of pieces.entries()) {
          const choices = [{ index: 0, delta: { content }, logprobs: null, finish_reason: null }];
          const data = { id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: "guide", choices };
          put({ type: "chat.completion.chunk", seq: seq += 1, data });
          await turn();
          if (index % step === step - 1) { await drawn(); await turn(); }
        }
      };
      queueMicrotask(() => put({ type: "chat.completion.created", id: "chatcmpl-1" }));
    }
  };
})()"""


def kinds(tokens: int) -> Iterator[tuple[str, str]]:
    yield "usual Markdown", markdown(USUAL, tokens)
    yield "tables, code and formulas", markdown(MARKDOWN, tokens)
    rows = range(tokens // 13)
    yield (
        "one table",
        "| Name | Value |\n|---|--:|\n" + "".join(f"| a row {n} | and `its` value {n * 7} |\n" for n in rows),
    )
    yield "one list", "".join(f"- The point {n} has some **words** to say here now\n" for n in range(tokens // 10))
    yield "one program", "```python\n" + "".join(f"value_{n} = f({n}, 'x')  # step {n}\n" for n in range(tokens // 6))


async def other_pages(page: Page, folder: Path) -> None:
    """Serve the pages in `folder` in place of the server's."""

    async def serve(route: Route) -> None:
        path = urlsplit(route.request.url).path
        file = folder / ("index.html" if path == "/" else path.removeprefix("/static/"))
        if not file.is_file():
            await route.continue_()
            return
        await route.fulfill(body=file.read_bytes(), content_type=mimetypes.guess_type(file.name)[0] or "text/plain")

    await page.route(re.compile(r"^http://[^/]+/(static/.*)?$"), serve)


async def main_thread_ms(session: CDPSession) -> float:
    metrics = (await session.send("Performance.getMetrics"))["metrics"]
    return 1000 * float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))


async def cost(browser: Browser, url: str, folder: Path | None, text: str) -> list[float]:
    """Milliseconds for 1,000 tokens, in each quarter of the answer."""
    async with context(browser, bypass_csp=True, service_workers="block") as made:
        page = await made.new_page()
        await page.add_init_script(STAND_IN)
        if folder is not None:
            await other_pages(page, folder)
        chat = Chat(page, url)
        await chat.open()
        session = await made.new_cdp_session(page)
        await session.send("Performance.enable", {"timeDomain": "threadTicks"})
        await chat.ask("Hello")
        pieces = re.findall(r"\S+\s*", text)
        size = -(-len(pieces) // QUARTERS)
        costs = []
        for start in range(0, len(pieces), size):
            part = pieces[start : start + size]
            before = await main_thread_ms(session)
            await page.evaluate("([pieces, step]) => grow(pieces, step)", [part, TOKENS_PER_FRAME])
            costs.append((await main_thread_ms(session) - before) / len(part) * 1000)
        return costs


async def main(folder: Path | None, tokens: int) -> int:
    chromium.FLAGS.append(FLAG)
    versions = {"this version": None} | ({str(folder): folder} if folder else {})
    with fake_server() as server:
        async with chromium.launched() as browser:
            for kind, text in kinds(tokens):
                costs: dict[str, list[list[float]]] = {name: [] for name in versions}
                for _ in range(ROUNDS):
                    for name, pages in versions.items():
                        costs[name].append(await cost(browser, server.url, pages, text))
                for name, rounds in costs.items():
                    quarters = [min(quarter) for quarter in zip(*rounds, strict=True)]
                    shown = ", ".join(f"{one:.0f}" for one in quarters)
                    print(f"{kind}, {name}: {statistics.mean(quarters):.0f} ms for 1,000 tokens (quarters: {shown})")
    return 0


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    folders = [Path(word) for word in sys.argv[1:] if not word.isdigit()]
    sys.exit(asyncio.run(main(folders[0] if folders else None, numbers[0] if numbers else TOKENS)))
