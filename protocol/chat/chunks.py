"""Encodes a chat's deltas as `chat.completion.chunk` objects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, assert_never

import orjson

from protocol.encoder import ChunkEncoder, Event, pad
from protocol.output import Delta, FinishReason, TokenLogprob, ToolCallArguments, ToolCallStart


class ChatChunks(ChunkEncoder):
    """`chat.completion.chunk` objects."""

    kind = "chat.completion.chunk"

    def opening(self, choices: int) -> list[Event]:
        """One chunk per choice with the role and an empty content."""
        chunks = [
            self._head
            + b'{"index":%d,"delta":{"role":"assistant","content":"","refusal":null},' % index
            + b'"logprobs":null,"finish_reason":null}'
            + self._tail
            for index in range(choices)
        ]
        return [pad(chunk) for chunk in chunks] if self._obfuscate else chunks

    def _before_text(self, index: int) -> bytes:
        return b'{"index":%d,"delta":{"content":' % index

    def _after_text(self) -> bytes:
        return b'},"logprobs":null,"finish_reason":null}'

    def _choice(self, delta: Delta) -> bytes:
        return orjson.dumps(
            {
                "index": delta.index,
                "delta": _delta_object(delta),
                "logprobs": chat_logprobs(delta.logprobs) if delta.logprobs is not None else None,
                "finish_reason": None,
            }
        )

    def _end(self, index: int, finish_reason: FinishReason) -> bytes:
        return b'{"index":%d,"delta":{},"logprobs":null,"finish_reason":"%b"}' % (index, finish_reason.encode())


def _delta_object(delta: Delta) -> dict[str, Any]:
    part, text = delta.part, delta.text
    match part:
        case None:
            return {"content": text}
        case "reasoning":
            return reasoning_fields(text)
        case ToolCallStart():
            function = {"name": part.name, "arguments": text}
            return {"tool_calls": [{"index": part.index, "id": part.id, "type": "function", "function": function}]}
        case ToolCallArguments():
            # The id, type and name come once: OpenAI's library joins what comes again.
            return {"tool_calls": [{"index": part.index, "function": {"arguments": text}}]}
        case _:
            assert_never(part)


def reasoning_fields(text: str) -> dict[str, str]:
    """Reasoning in a delta or a message. OpenAI has no field for it: some clients read one of these, some the other."""
    return {"reasoning": text, "reasoning_content": text}


def chat_logprobs(tokens: Iterable[TokenLogprob]) -> dict[str, Any]:
    """The `logprobs` object of a chat's choice."""
    return {
        "content": [
            {
                "token": token.token,
                "logprob": token.logprob,
                "bytes": list(token.utf8),
                "top_logprobs": [
                    {"token": top.token, "logprob": top.logprob, "bytes": list(top.utf8)} for top in token.top
                ],
            }
            for token in tokens
        ],
        "refusal": None,
    }
