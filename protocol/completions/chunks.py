"""Encodes a completion's deltas as `text_completion` objects, as OpenAI's older route streams them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from protocol.encoder import ChunkEncoder
from protocol.output import Delta, FinishReason, TokenLogprob
from protocol.reports import prompt_members


class CompletionChunks(ChunkEncoder):
    """`text_completion` objects. They have content only: reasoning and tool calls are left out."""

    kind = "text_completion"

    def __init__(self, **common: Any) -> None:
        super().__init__(**common)
        self._offsets: dict[int, int] = {}
        """The length in characters of each choice with logprobs so far."""

    def _before_text(self, index: int) -> bytes:
        return b'{"index":%d,"text":' % index

    def _after_text(self) -> bytes:
        return b',"logprobs":null,"finish_reason":null}'

    def _choice(self, delta: Delta) -> bytes | None:
        if delta.part is not None:
            return None
        logprobs = None
        if delta.logprobs is not None:
            offset = self._offsets.get(delta.index, 0)
            logprobs = completion_logprobs(delta.logprobs, offset)
            self._offsets[delta.index] = offset + sum(map(_length, delta.logprobs))
        choice = {"index": delta.index, "text": delta.text, "logprobs": logprobs, "finish_reason": None}
        if (report := delta.report) is not None:
            choice["token_ids"] = list(report.token_ids)
            choice |= prompt_members(report.prompt)
        return orjson.dumps(choice)

    def _end(self, index: int, finish_reason: FinishReason) -> bytes:
        reason = completion_finish_reason(finish_reason).encode()
        return b'{"index":%d,"text":"","logprobs":null,"finish_reason":"%b"}' % (index, reason)


def completion_finish_reason(finish_reason: FinishReason) -> FinishReason:
    """A completion's word for why a choice ended: it knows no tool calls, after which the model stops."""
    return "stop" if finish_reason == "tool_calls" else finish_reason


def completion_logprobs(tokens: Iterable[TokenLogprob], first_offset: int = 0) -> dict[str, Any]:
    """The `logprobs` object of a completion's choice; offsets count characters from the start of the text."""
    out: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    offset = first_offset
    for token in tokens:
        out["tokens"].append(token.token)
        out["token_logprobs"].append(token.logprob)
        out["top_logprobs"].append(None if token.logprob is None else {top.token: top.logprob for top in token.top})
        out["text_offset"].append(offset)
        offset += _length(token)
    return out


def _length(token: TokenLogprob) -> int:
    """The characters of its text, which may be written as its id."""
    return len(token.utf8.decode(errors="replace")) if token.token.startswith("token_id:") else len(token.token)
