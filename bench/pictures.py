"""Many clients that each send a large picture: the server's memory, and the gaps between other chats' tokens.

    python -m bench.pictures [CLIENTS] [MEGABYTES]

The engine is the one of the tests that only counts, with the server's own code for images: see `bench.picture_server`.
A few chats of text run all the time, a token in 20 ms, first alone, then beside the pictures. Prints Markdown.
"""

from __future__ import annotations

import asyncio
import base64
import io
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field

import httpx
import numpy as np
import orjson
from PIL import Image

from bench.load import percentile
from bench.processes import free_port
from bench.serve import MODEL, Contender, Running, started

CLIENTS, MEGABYTES = 64, 12.0
DIFFERENT = 4
"""Pictures; several clients send the same, so that this program does not take more memory than the server."""
CHATS = 8
PACE_S = 0.02
ALONE_S = 15.0
LIMIT_S = 600.0
SAMPLE_S = 0.05


def picture(seed: int, size: int) -> bytes:
    """A JPEG of noise of about `size` bytes."""
    rng = np.random.default_rng(seed)
    side = 1000
    for _ in range(2):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (side, side, 3), np.uint8)).save(file, "JPEG", quality=100, subsampling=0)
        side = int(side * (size / file.tell()) ** 0.5)
    return file.getvalue()


def body_of(file: bytes) -> bytes:
    """A chat about a picture, whose answer has one token."""
    url = f"data:image/jpeg;base64,{base64.b64encode(file).decode()}"
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    return orjson.dumps(
        {"model": MODEL, "messages": [{"role": "user", "content": content}], "max_completion_tokens": 1}
    )


@dataclass
class Phase:
    """What was seen for some time."""

    gaps: list[float] = field(default_factory=list)
    """Between the tokens of a chat, in seconds."""
    memory: int = 0
    """The most of the API server, in bytes."""
    seconds: float = 0.0

    def gap_ms(self, percent: int) -> float:
        """A percentile of the gaps."""
        return percentile(self.gaps, percent) * 1e3


class Run:
    """One run against a server."""

    def __init__(self, running: Running, port: int) -> None:
        self._running = running
        self._url = f"http://127.0.0.1:{port}/v1/chat/completions"
        self.phase = Phase()

    async def chat(self, client: httpx.AsyncClient) -> None:
        """Chats of text, one after another. Never returns."""
        body = {
            "model": MODEL,
            "messages": [{"role": "user", "content": "Hello"}],
            "max_completion_tokens": 1000,
            "ignore_eos": True,
            "stream": True,
        }
        while True:
            last = None
            async with client.stream("POST", self._url, json=body) as response:
                response.raise_for_status()
                async for line in response.aiter_lines():
                    if not line.startswith("data: {"):
                        continue
                    now = time.perf_counter()
                    if last is not None:
                        self.phase.gaps.append(now - last)
                    last = now

    async def watch(self) -> None:
        """Note the memory. Never returns."""
        while True:
            self.phase.memory = max(self.phase.memory, self._running.rss_bytes())
            await asyncio.sleep(SAMPLE_S)

    async def send(self, client: httpx.AsyncClient, body: bytes) -> int:
        """The status of the answer to a picture."""
        return (await client.post(self._url, content=body, headers={"Content-Type": "application/json"})).status_code

    async def measure(self, bodies: Sequence[bytes], clients: int) -> tuple[Phase, Phase, Counter[int]]:
        """The phase without pictures, the one with them, and the statuses of the answers."""
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=LIMIT_S, limits=limits) as client:
            await self.send(client, bodies[0])  # What is loaded once.
            running = [asyncio.create_task(self.chat(client)) for _ in range(CHATS)]
            running.append(asyncio.create_task(self.watch()))
            await asyncio.sleep(2)
            alone = await self._phase(asyncio.sleep(ALONE_S))
            sent = [self.send(client, bodies[number % len(bodies)]) for number in range(clients)]
            answered: list[int] = []

            async def all_of_them() -> None:
                answered.extend(await asyncio.gather(*sent))

            beside = await self._phase(all_of_them())
            for task in running:
                task.cancel()
            for end in await asyncio.gather(*running, return_exceptions=True):
                if isinstance(end, Exception):
                    raise end
        return alone, beside, Counter(answered)

    async def _phase(self, doing: Awaitable[None]) -> Phase:
        self.phase, began = Phase(), time.perf_counter()
        await doing
        self.phase.seconds = time.perf_counter() - began
        return self.phase


def contender(port: int) -> Contender:
    """The server that is measured."""
    command = [sys.executable, "-m", "bench.picture_server", "serve", "--port", str(port), "--no-embeddings"]
    # On a slow machine, so much takes longer to arrive than one request may take.
    command += ["--log-level", "warning", "--body-timeout-s", str(LIMIT_S)]
    return Contender("twowire", command, port, ("sse",), {"FAKE_PACE_S": str(PACE_S)})


def main() -> None:
    clients = int(sys.argv[1]) if len(sys.argv) > 1 else CLIENTS
    size = int(float(sys.argv[2]) * 1e6) if len(sys.argv) > 2 else int(MEGABYTES * 1e6)
    files = [picture(seed, size) for seed in range(DIFFERENT)]
    one = contender(free_port())
    with started(one) as running:
        running.wait_ready()
        alone, beside, answered = asyncio.run(Run(running, one.port).measure(list(map(body_of, files)), clients))
    mean = statistics.mean(map(len, files)) / 1e6
    print(f"{clients} clients, a picture of {mean:.1f} MB each, answered in {beside.seconds:.0f} s: {dict(answered)}\n")
    print("| | Memory of the API server | Gap between tokens: median | p95 | p99 |\n|---|---|---|---|---|")
    for name, phase in (("chats alone", alone), ("beside the pictures", beside)):
        gaps = " | ".join(f"{phase.gap_ms(percent):.1f} ms" for percent in (50, 95, 99))
        print(f"| {name} | {phase.memory / 2**20:.0f} MiB | {gaps} |")


if __name__ == "__main__":
    main()
