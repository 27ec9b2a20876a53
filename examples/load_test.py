"""Put some streams on each wire, one wire after the other, and print the medians of first token and pace.

    .venv/bin/python examples/load_test.py
    .venv/bin/python examples/load_test.py --streams 32 --tokens 128

The HTTP streams have a connection each, the chats of the WebSocket share one for every 16 (the server's
`--ws-max-running`). For measurements to publish, use `make bench`: docs/explanation/performance.md says why.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from statistics import median
from typing import Any

import httpx

from twowire_client import Channel, ChannelError, ConnectionLost

CHATS_PER_SOCKET = 16
Opened = Callable[[int], AsyncGenerator[dict[str, Any]]]
"""Starts the stream of a number, and gives its chunks."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--api-key", default="unused")
    parser.add_argument("--model", default="guide")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    return parser.parse_args()


def body(given: argparse.Namespace) -> dict[str, Any]:
    # With ignore_eos, a field of vLLM's, every answer has the same length.
    messages = [{"role": "user", "content": "Tell me everything about the server."}]
    return {"model": given.model, "messages": messages, "max_tokens": given.tokens, "ignore_eos": True}


async def events(given: argparse.Namespace, client: httpx.AsyncClient) -> AsyncGenerator[dict[str, Any]]:
    asked = body(given) | {"stream": True}
    async with client.stream("POST", "/v1/chat/completions", json=asked) as response:
        if response.is_error:
            await response.aread()
        response.raise_for_status()
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                yield json.loads(line.removeprefix("data: "))


async def frames(given: argparse.Namespace, channel: Channel) -> AsyncGenerator[dict[str, Any]]:
    async for chunk in await channel.create(**body(given)):
        yield chunk


async def timed(chunks: AsyncGenerator[dict[str, Any]], tokens: int) -> tuple[float, float]:
    """The seconds to the first token, and the tokens per second after it."""
    started = first = last = time.perf_counter()
    async for chunk in chunks:
        if any(choice["delta"].get("content") for choice in chunk["choices"]):
            last = time.perf_counter()
            first = last if first == started else first
    return first - started, (tokens - 1) / max(last - first, 1e-9)


async def measure(name: str, given: argparse.Namespace, opened: Opened) -> None:
    # One stream beforehand, so that the first wire does not pay for what is cold.
    await timed(opened(0), given.tokens)
    times = await asyncio.gather(*(timed(opened(number), given.tokens) for number in range(given.streams)))
    first_ms = median(first for first, _ in times) * 1e3
    print(f"{name:<10} {first_ms:9.1f} ms {median(pace for _, pace in times):12.1f} tokens/s", flush=True)


async def main(given: argparse.Namespace) -> None:
    print(f"{given.streams} streams of {given.tokens} tokens\n{'':10} {'first token':>12} {'pace of each':>21}")
    headers = {"Authorization": f"Bearer {given.api_key}"}
    limits = httpx.Limits(max_connections=None)
    async with AsyncExitStack() as stack:
        client = httpx.AsyncClient(base_url=given.url, headers=headers, limits=limits, timeout=300)
        await stack.enter_async_context(client)
        channels = [
            await stack.enter_async_context(Channel.connect(given.url, api_key=given.api_key))
            for _ in range(0, given.streams, CHATS_PER_SOCKET)
        ]
        await measure("HTTP", given, lambda number: events(given, client))
        await measure("WebSocket", given, lambda number: frames(given, channels[number // CHATS_PER_SOCKET]))


if __name__ == "__main__":
    try:
        asyncio.run(main(options()))
    except (httpx.HTTPError, ChannelError, ConnectionLost) as error:
        sys.exit(f"error: {error}")
