"""One dialogue through all three chat APIs: two calls at once, thoughts, a reminder of the system in the middle.

The engine gets the same request, so the model reads the same prompt and the prefix cache serves all three.
"""

from __future__ import annotations

import json
from typing import Any

from protocol.chat.request import ChatCompletionRequest
from protocol.generation import ChatPrompt, GenerationRequest
from protocol.messages.request import MessagesRequest
from protocol.responses.request import ResponseRequest
from protocol.validation.parse import request_from_object

CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
PLACES = ("Rome", "Seoul")
RULES, REMINDER = "You help.", "Be brief."


def as_chat() -> GenerationRequest:
    calls = [
        {
            "id": f"call_{place}",
            "type": "function",
            "function": {"name": "weather", "arguments": json.dumps({"city": place})},
        }
        for place in PLACES
    ]
    body = {
        "messages": [
            {"role": "system", "content": RULES},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "I look.", "reasoning": "Hm.", "tool_calls": calls},
            *({"role": "tool", "tool_call_id": f"call_{place}", "content": "sun"} for place in PLACES),
            {"role": "user", "content": "Well?"},
            {"role": "system", "content": REMINDER},
            {"role": "assistant", "content": "Sun."},
            {"role": "user", "content": "Thanks."},
        ],
        "reasoning_effort": "high",
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": CITY}}],
        "max_tokens": 8,
    }
    return request_from_object(ChatCompletionRequest, {"model": "guide"} | body).generation_request()


def as_response() -> GenerationRequest:
    def said(role: str, text: str) -> dict[str, Any]:
        return {"role": role, "content": text}

    body = {
        "instructions": RULES,
        "input": [
            said("user", "Hi"),
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
            said("assistant", "I look."),
            *(
                {
                    "type": "function_call",
                    "call_id": f"call_{place}",
                    "name": "weather",
                    "arguments": json.dumps({"city": place}),
                }
                for place in PLACES
            ),
            *({"type": "function_call_output", "call_id": f"call_{place}", "output": "sun"} for place in PLACES),
            said("user", "Well?"),
            said("system", REMINDER),
            said("assistant", "Sun."),
            said("user", "Thanks."),
        ],
        "reasoning": {"effort": "high"},
        "tools": [{"type": "function", "name": "weather", "parameters": CITY}],
        "max_output_tokens": 8,
    }
    return request_from_object(ResponseRequest, {"model": "guide"} | body).generation_request()


def as_message() -> GenerationRequest:
    def said(role: str, *blocks: dict[str, Any]) -> dict[str, Any]:
        return {"role": role, "content": list(blocks)}

    def text(words: str) -> dict[str, Any]:
        return {"type": "text", "text": words}

    uses = [
        {"type": "tool_use", "id": f"call_{place}", "name": "weather", "input": {"city": place}} for place in PLACES
    ]
    results = [{"type": "tool_result", "tool_use_id": f"call_{place}", "content": "sun"} for place in PLACES]
    body = {
        "system": RULES,
        "messages": [
            said("user", text("Hi")),
            said("assistant", {"type": "thinking", "thinking": "Hm.", "signature": ""}, text("I look."), *uses),
            said("user", *results, text("Well?")),
            said("system", text(REMINDER)),
            said("assistant", text("Sun.")),
            said("user", text("Thanks.")),
        ],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "output_config": {"effort": "high"},
        "tools": [{"name": "weather", "input_schema": CITY}],
        "max_tokens": 8,
    }
    return request_from_object(MessagesRequest, {"model": "guide"} | body).generation_request()


def test_all_three_apis_ask_the_engine_for_the_same() -> None:
    chat = as_chat()
    assert isinstance(chat.prompt, ChatPrompt)
    roles = [message["role"] for message in chat.prompt.messages]
    assert roles == ["system", "user", "assistant", "tool", "tool", "user", "system", "assistant", "user"]
    for other in (as_response(), as_message()):
        assert other.prompt == chat.prompt
        assert other.tools == chat.tools
        assert (other.thinks, other.effort) == (chat.thinks, chat.effort) == (True, "high")
        assert other.sampling.max_tokens == chat.sampling.max_tokens == 8
