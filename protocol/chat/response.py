"""Collects a chat's deltas into a `chat.completion` object."""

from __future__ import annotations

from typing import Any

from protocol.chat.chunks import chat_logprobs, reasoning_fields
from protocol.collector import Choice, ChoicesCollector


class ChatCollector(ChoicesCollector):
    """A `chat.completion` object."""

    kind = "chat.completion"

    def _choice_object(self, index: int, choice: Choice) -> dict[str, Any]:
        content = "".join(choice.content)
        # Beside tool calls, null stands for no content.
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if choice.tool_calls and not content else content,
            "refusal": None,
        }
        if choice.reasoning:
            message |= reasoning_fields("".join(choice.reasoning))
        if choice.tool_calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": "".join(call.arguments)},
                }
                for _, call in sorted(choice.tool_calls.items())
            ]
        return {
            "index": index,
            "message": message,
            "logprobs": chat_logprobs(choice.logprobs) if choice.has_logprobs else None,
            "finish_reason": choice.finish_reason,
        }
