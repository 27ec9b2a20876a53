"""Encodes a chat's deltas as `chat.completion.chunk` objects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, assert_never

import orjson

from protocol.chat.style import PLAIN, ChatStyle
from protocol.encoder import ChunkEncoder, Event, logprob_objects, pad
from protocol.output import Delta, FinishReason, TokenLogprob, ToolCallArguments, ToolCallStart, Usage
from protocol.reports import prompt_members


class ChatChunks(ChunkEncoder):
    """`chat.completion.chunk` objects."""

    kind = "chat.completion.chunk"

    def __init__(self, *, style: ChatStyle = PLAIN, **common: Any) -> None:
        super().__init__(**common)
        self._style = style
        self._custom_calls: set[tuple[int, int]] = set()
        """Choice and index of the calls of custom tools."""

    def opening(self, choices: int, usage: Usage) -> list[Event]:
        """One chunk per choice with the role and an empty content."""
        content = b"" if self._style.has_tools else b'"content":%b,' % orjson.dumps(self._style.beginning)
        chunks = [
            self._head
            + b'{"index":%d,"delta":{"role":"assistant",%b"refusal":null},' % (index, content)
            + b'"logprobs":null,"finish_reason":null}'
            + self._tail
            for index in range(choices)
        ]
        return [pad(chunk) for chunk in chunks] if self._obfuscate else chunks

    def _before_text(self, index: int) -> bytes:
        return b'{"index":%d,"delta":{"content":' % index

    def _after_text(self) -> bytes:
        return b'},"logprobs":null,"finish_reason":null}'

    def _choice(self, delta: Delta) -> bytes | None:
        if delta.part == "reasoning" and not self._style.shows_reasoning:
            return None
        choice = {
            "index": delta.index,
            "delta": self._delta_object(delta),
            "logprobs": chat_logprobs(delta.logprobs) if delta.logprobs is not None else None,
            "finish_reason": None,
        }
        if (report := delta.report) is not None:
            if report.prompt is not None and delta.index:
                return None  # Told with the first choice.
            choice["token_ids"] = list(report.token_ids)
        return orjson.dumps(choice)

    def _tail_of(self, delta: Delta) -> bytes:
        if delta.report is None or delta.report.prompt is None:
            return self._tail
        return b"]," + orjson.dumps(prompt_members(delta.report.prompt))[1:-1] + self._tail[1:]

    def _end(self, index: int, finish_reason: FinishReason) -> bytes:
        reason = self._style.finish_reason(finish_reason).encode()
        return b'{"index":%d,"delta":{},"logprobs":null,"finish_reason":"%b"}' % (index, reason)

    def _delta_object(self, delta: Delta) -> dict[str, Any]:
        part, text = delta.part, delta.text
        match part:
            case None:
                return {"content": text}
            case "reasoning":
                return reasoning_fields(text)
            case ToolCallStart():
                return self._call_start(delta.index, part, text)
            case ToolCallArguments():
                # The id, type and name come once: OpenAI's library joins what comes again.
                if self._style.is_legacy:
                    return {"function_call": {"arguments": text}}
                if (delta.index, part.index) in self._custom_calls:
                    return {"tool_calls": [{"index": part.index, "custom": {"input": text}}]}
                return {"tool_calls": [{"index": part.index, "function": {"arguments": text}}]}
            case _:
                assert_never(part)

    def _call_start(self, choice: int, part: ToolCallStart, text: str) -> dict[str, Any]:
        if self._style.is_legacy:
            return {"function_call": {"name": part.name, "arguments": text}}
        if part.name in self._style.custom_tools:
            self._custom_calls.add((choice, part.index))
            custom = {"name": part.name, "input": text}
            return {"tool_calls": [{"index": part.index, "id": part.id, "type": "custom", "custom": custom}]}
        function = {"name": part.name, "arguments": text}
        return {"tool_calls": [{"index": part.index, "id": part.id, "type": "function", "function": function}]}


def reasoning_fields(text: str) -> dict[str, str]:
    """Reasoning in a delta or a message. OpenAI has no field for it: some clients read one of these, some the other."""
    return {"reasoning": text, "reasoning_content": text}


def chat_logprobs(tokens: Iterable[TokenLogprob]) -> dict[str, Any]:
    """The `logprobs` object of a chat's choice."""
    return {
        "content": logprob_objects(tokens),
        "refusal": None,
    }
