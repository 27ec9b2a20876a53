"""The browser's client, `static/channel.js`, under Node: its own tests, and those of a server that asks for a key.

With them, what the chat says of an answer's speed, and what its wire inspector records. The tests are in `tests/js`.
The server that asks for a key has a fake engine: only who may enter is tested there.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hypercorn.asyncio import serve
from hypercorn.config import Config

from app.config.load import load_settings
from app.factory import create_app
from app.hypercorn import install
from app.server.wiring import make_services
from engine.admission.admission import AdmissionLimits
from engine.manager import EngineManager
from tests.engine.fakes import FakeFactory
from tests.live.clients.node import node

KEY = "some-test-key-0123456789"


@asynccontextmanager
async def server_with_a_key() -> AsyncIterator[str]:
    """The URL of this app under hypercorn, in this process."""
    install()
    manager = EngineManager(FakeFactory(), AdmissionLimits(4, 4))
    app = create_app(make_services(load_settings([], {"TWOWIRE_API_KEYS": KEY}), manager))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = Config()
        config.bind = [f"fd://{os.dup(listener.fileno())}"]
        config.loglevel = "WARNING"
        config.graceful_timeout = 1
        stop = asyncio.Event()

        async def stopped() -> None:
            await stop.wait()

        serving = asyncio.create_task(serve(app, config, shutdown_trigger=stopped))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stop.set()
            await serving


def test_the_client_by_itself() -> None:
    printed = node("generations.test.mjs", "connection.test.mjs", "fallback.test.mjs")
    assert "# skipped 0" in printed


def test_what_the_wire_inspector_records() -> None:
    assert "# pass 8" in node("inspector.test.mjs")


def test_what_the_chat_says_of_an_answers_speed() -> None:
    assert "# pass 4" in node("facts.test.mjs")


def test_the_bench_compares_texts_word_by_word() -> None:
    assert "# pass 4" in node("diff.test.mjs")


async def test_the_client_at_a_server_that_asks_for_a_key() -> None:
    async with server_with_a_key() as url:
        printed = await asyncio.to_thread(node, "live.test.mjs", env={"CHANNEL_KEY_URL": url, "CHANNEL_KEY": KEY})
    assert "# pass 3" in printed, printed


def test_the_pages_texts_and_what_it_gathers_of_a_stream() -> None:
    assert "# pass 11" in node("strings.test.mjs", "gathered.test.mjs")
