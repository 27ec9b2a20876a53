"""Collects a chat's deltas into a `chat.completion` object."""

from __future__ import annotations

from typing import Any

from protocol.chat.chunks import chat_logprobs, reasoning_fields
from protocol.chat.style import PLAIN, ChatStyle
from protocol.collector import Choice, ChoicesCollector, ToolCall
from protocol.reports import prompt_members


class ChatCollector(ChoicesCollector):
    """A `chat.completion` object."""

    kind = "chat.completion"

    def __init__(self, *, style: ChatStyle = PLAIN, **common: Any) -> None:
        super().__init__(**common)
        self._style = style

    def _choice_object(self, index: int, choice: Choice) -> dict[str, Any]:
        content = self._style.beginning + "".join(choice.content)
        # Beside tool calls, null stands for no content.
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if choice.tool_calls and not content else content,
            "refusal": None,
        }
        if choice.reasoning and self._style.shows_reasoning:
            message |= reasoning_fields("".join(choice.reasoning))
        calls = [call for _, call in sorted(choice.tool_calls.items())]
        if calls and self._style.is_legacy:
            message["function_call"] = {"name": calls[0].name, "arguments": "".join(calls[0].arguments)}
        elif calls:
            message["tool_calls"] = [self._call_object(call) for call in calls]
        made = {
            "index": index,
            "message": message,
            "logprobs": chat_logprobs(choice.logprobs) if choice.has_logprobs else None,
            "finish_reason": choice.finish_reason and self._style.finish_reason(choice.finish_reason),
        }
        if choice.has_ids:
            # Those of thoughts spell them.
            made["token_ids"] = (choice.reasoning_ids if self._style.shows_reasoning else []) + choice.token_ids
        return made

    def _more(self) -> dict[str, Any]:
        return super()._more() | prompt_members(self._choices[0].prompt)

    def _call_object(self, call: ToolCall) -> dict[str, Any]:
        text = "".join(call.arguments)
        if call.name in self._style.custom_tools:
            return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": text}}
        return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": text}}
