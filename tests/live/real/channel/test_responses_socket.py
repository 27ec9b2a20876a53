"""OpenAI's WebSocket for responses on the real engine."""

from __future__ import annotations

import uuid
from typing import Any, cast

from tests.live.servers.server import MODEL, Server

BLOCK_TOKENS = 128
"""At most so many tokens at the end of a prompt are not in the prefix cache: a block that is not full."""


def test_a_response_that_generates_nothing_fills_the_prefix_cache(server: Server) -> None:
    story = " ".join(f"Rule {number} of {uuid.uuid4().hex}." for number in range(20))
    asking: dict[str, Any] = {"type": "response.create", "model": MODEL, "store": False}
    with server.sdk() as sdk, sdk.responses.connect() as connection:
        counted = sdk.responses.input_tokens.count(model=MODEL, input=story).input_tokens
        connection.send(cast(Any, asking | {"input": story, "generate": False}))
        prepared = next(event for event in connection if event.type == "response.completed").response
        assert prepared.output == []
        following = {"input": "Hm?", "previous_response_id": prepared.id, "max_output_tokens": 1}
        connection.send(cast(Any, asking | following))
        usage = next(event for event in connection if event.type == "response.incomplete").response.usage
    assert usage is not None
    assert usage.input_tokens_details.cached_tokens > counted - 2 * BLOCK_TOKENS
