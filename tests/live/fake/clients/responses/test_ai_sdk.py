"""Vercel's AI SDK on responses: its tests are in `tests/js`."""

from __future__ import annotations

from tests.live.clients.node import node, packages
from tests.live.servers.server import Server


def test_steps_objects_and_reasoning(server: Server) -> None:
    packages("the AI SDK")
    node("ai_sdk_responses.test.mjs", env={"SERVER_URL": server.url})
