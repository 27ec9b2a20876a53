"""Anthropic's Messages on the real engine: what a template makes of a dialogue, and what of it is cached."""

from __future__ import annotations

import uuid
from typing import Any

import anthropic
import pytest

from tests.live.servers.server import MODEL, Server

BLOCK_TOKENS = 128
"""At most so many tokens at the end of a prompt are not in the prefix cache: a block that is not full."""

TOOLS: Any = [
    {
        "name": "weather",
        "description": "The weather in a city.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]
CALLS = [{"type": "tool_use", "id": f"call_{city}", "name": "weather", "input": {"city": city}} for city in ("a", "b")]
RESULTS = [{"type": "tool_result", "tool_use_id": call["id"], "content": "sun"} for call in CALLS]


def test_the_second_turn_of_a_dialogue_has_the_first_cached(server: Server) -> None:
    """With two calls at once, thoughts, and a reminder in the middle; its billing header changes with each request."""
    story = " ".join(f"Rule {number} of {uuid.uuid4().hex}." for number in range(20))
    messages: list[Any] = [{"role": "user", "content": "How is the weather in a and b?"}]

    def asking(turn: int) -> dict[str, Any]:
        system = [
            {"type": "text", "text": f"x-anthropic-billing-header: cc_version=2.{turn}; cch={uuid.uuid4().hex};"},
            {"type": "text", "text": story},
        ]
        return {"model": MODEL, "system": system, "messages": messages, "tools": TOOLS}

    with anthropic.Anthropic(base_url=server.url, api_key="unused", max_retries=0) as sdk:
        counted = sdk.messages.count_tokens(**asking(0)).input_tokens
        first = sdk.messages.create(**asking(1), max_tokens=1).usage
        assert (first.input_tokens + (first.cache_read_input_tokens or 0)) == counted
        messages += [
            {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "Both.", "signature": ""}, *CALLS],
            },
            {"role": "user", "content": RESULTS},
            {"role": "system", "content": "Remember the rules."},
        ]
        with sdk.messages.stream(**asking(2), max_tokens=4) as stream:
            second = stream.get_final_message().usage
    assert second.cache_read_input_tokens is not None
    assert second.cache_read_input_tokens > counted - BLOCK_TOKENS
    assert second.input_tokens + second.cache_read_input_tokens > counted


def test_a_prompt_longer_than_the_context_is_refused_and_counted(server: Server) -> None:
    with anthropic.Anthropic(base_url=server.url, api_key="unused", max_retries=0) as sdk:
        context = sdk.models.retrieve(MODEL).max_input_tokens
        assert context is not None
        asked: Any = {"model": MODEL, "messages": [{"role": "user", "content": "word " * (context + 10)}]}
        assert sdk.messages.count_tokens(**asked).input_tokens > context
        with pytest.raises(anthropic.BadRequestError, match="context"):
            sdk.messages.create(**asked, max_tokens=1)
