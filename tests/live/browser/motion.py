"""Makes the moving picture of README: `python -m tests.live.browser.motion`.

The bundled guide counts in the chat page, slowed down; the cable to the server is cut, and put back.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.async_api import Browser, Page

from tests.live.browser.chromium import launched
from tests.live.browser.pages import Cable, Chat, context
from tests.live.servers.held import BRAKE_ARGS, BRAKE_FILE, braked
from tests.live.servers.server import start_server, stop_server

PICTURE = Path(__file__).resolve().parents[3] / "docs" / "pictures" / "resume.webp"
SIZE = {"width": 760, "height": 420}
QUESTION = "Count from 1 to 60"
STEP_S = 0.12
AWAY_S = 3.0
LAST_FRAME_MS = 3000
MOST_BYTES = 600_000

CAPTION = """(text) => {
  const line = document.querySelector("#caption") ?? document.body.appendChild(document.createElement("div"));
  line.id = "caption";
  line.textContent = text;
  Object.assign(line.style, {
    position: "fixed", bottom: "126px", left: "50%", transform: "translateX(-50%)", whiteSpace: "nowrap",
    padding: "6px 14px", borderRadius: "8px", background: "#0f766e", color: "white", font: "600 15px system-ui",
    zIndex: 99,
  });
}"""


class Film:
    """The frames of a page, each with the time at which it was taken."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._frames: list[tuple[float, bytes]] = []

    async def record(self) -> None:
        """Take frames until cancelled."""
        while True:
            frame = await self._page.screenshot()
            if not self._frames or self._frames[-1][1] != frame:
                self._frames.append((time.monotonic(), frame))
            await asyncio.sleep(0.05)

    def save(self, path: Path) -> int:
        """Write it as an animated WebP that starts over at its end; returns its bytes."""
        times = [at for at, _ in self._frames]
        lengths = [round(1000 * (after - at)) for at, after in itertools.pairwise(times)] + [LAST_FRAME_MS]
        first, *rest = [Image.open(io.BytesIO(frame)).convert("RGB") for _, frame in self._frames]
        first.save(path, save_all=True, append_images=rest, duration=lengths, loop=0, quality=55, method=6)
        return path.stat().st_size


async def play(chat: Chat, cable: Cable) -> None:
    """Ask, cut the cable, put it back, and wait for the end of the answer."""
    await chat.page.evaluate(CAPTION, "An answer streams over the WebSocket")
    await chat.ask(QUESTION)
    await chat.counted(20)
    cable.is_torn = True
    cable.cut()
    await chat.page.evaluate(CAPTION, "The cable is cut")
    await chat.status("reconnecting", "connecting")
    await asyncio.sleep(AWAY_S)  # So long it is to be seen.
    cable.is_torn = False
    await chat.status("ready", "resumed")
    await chat.page.evaluate(CAPTION, "Reconnected: the answer goes on where it was")
    await chat.finished()
    assert await chat.numbers() == list(range(1, 61)), "the guide has not counted as it should"


async def record(browser: Browser, url: str, path: Path) -> int:
    """Film one answer on the page of the server at `url`."""
    sampling = {"temperature": 0, "max_completion_tokens": 300}
    async with Cable(url) as cable, context(browser, sampling=sampling, viewport=SIZE, color_scheme="light") as made:
        chat = Chat(await made.new_page(), cable.url)
        await chat.open()
        film = Film(chat.page)
        recording = asyncio.create_task(film.record())
        await play(chat, cable)
        await asyncio.sleep(0.5)  # The last frames, in which the page draws the end of the answer.
        recording.cancel()
        await asyncio.gather(recording, return_exceptions=True)
    return await asyncio.to_thread(film.save, path)


async def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        brake = Path(folder, "brake")
        flags = ("--dtype", "float32", "--engine-args", BRAKE_ARGS)
        server = await asyncio.to_thread(start_server, *flags, env={BRAKE_FILE: str(brake)})
        try:
            with braked(brake, STEP_S):
                async with launched() as browser:
                    size = await record(browser, server.url, PICTURE)
        finally:
            await asyncio.to_thread(stop_server, server)
    print(f"{PICTURE.name}: {size:,} bytes")
    return 0 if size < MOST_BYTES else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
