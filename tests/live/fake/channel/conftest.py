"""A server with two keys and room for few connections, and a bystander on it that must notice nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.clients.abuse import BODY, CREATE, KEY, MESSAGE_BYTES, OTHER_BEARER, OTHER_KEY, PAGE
from tests.live.clients.raw_websocket import RawWebSocket
from tests.live.servers.server import Server, left_as_found


@pytest.fixture(scope="module")
def flags() -> tuple[str, ...]:
    limits = ("--ws-max-message-bytes", str(MESSAGE_BYTES), "--ws-max-connections-per-key", "8")
    return (*limits, "--cors-origins", PAGE, "--public-metrics")


@pytest.fixture(scope="module")
def env() -> dict[str, str]:
    return {"TWOWIRE_API_KEYS": f"{KEY},{OTHER_KEY}"}


@pytest.fixture
def server(fake: Server) -> Iterator[Server]:
    """Whatever is done to the server, a stream that was there before goes on, and nothing is left."""
    with left_as_found(fake), RawWebSocket(fake.port, OTHER_BEARER) as bystander:
        bystander.say({"type": CREATE, "stream_id": "by", "body": BODY})
        bystander.wait_for("chat.completion.chunk")
        yield fake
        bystander.wait_for("chat.completion.chunk")
        bystander.say({"type": "ping", "t": "still here"})
        bystander.wait_for("pong", t="still here")
