"""The server's load, as the real engine reports it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.live.clients.channels import opened
from tests.live.servers.server import Server

LIMIT_S = 60


async def test_a_running_chat_is_seen_in_the_load(server: Server, slow_engine: Callable[[], None]) -> None:
    async with asyncio.timeout(LIMIT_S), opened(server) as channel:
        stream = await channel.create(max_tokens=2000)
        await channel.say(type="server.stats.subscribe")
        found: dict[str, Any] = {}
        # The first reports come before the first token.
        while not (found.get("kv_cache_usage") and found.get("tokens_per_s")):
            frame = await channel.read()
            found = frame if frame["type"] == "server.stats" else found
        assert (found["running"], found["waiting"], found["streams"]) == (1, 0, [])
        assert 0 < found["kv_cache_usage"] < 1
        await channel.cancel("a")
        slow_engine()
        while not stream.is_over:
            await channel.read()
        while found["running"]:
            frame = await channel.read()
            found = frame if frame["type"] == "server.stats" else found
        assert found["kv_cache_usage"] == 0
