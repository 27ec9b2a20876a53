"""Pieces become the bytes of OpenAI's chunks, once, for whichever wire will carry them.

Does not know the wire: what it makes is the JSON object, without framing. This is the path that a token takes: what
the chunks of a stream share is encoded when the stream starts, and a plain delta is one concatenation around its
escaped text.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any, ClassVar, Protocol

import orjson

from protocol.output import Delta, FinishReason, TokenLogprob, Usage

OBFUSCATION_BLOCK = 64
"""With obfuscation, every chunk's length is a multiple of this many bytes, so that it tells little of the text's."""


class ChunkEncoder(Protocol):
    """Encodes one stream's chunks."""

    def opening(self, choices: int) -> list[bytes]:
        """The chunks that come before the first delta."""

    def delta(self, delta: Delta) -> bytes:
        """The chunk of one delta's text and logprobs. It never has a `finish_reason`: see `last`."""

    def last(self, delta: Delta) -> list[bytes]:
        """The chunks of a choice's last delta: what it still holds, if anything, and then the `finish_reason` alone.

        As OpenAI does it: clients that take a `finish_reason` for the end do not read the text beside it.
        """

    def usage(self, usage: Usage) -> bytes:
        """The last chunk, with the usage and no choices."""

    @property
    def text_template(self) -> tuple[bytes, bytes] | None:
        """What the chunk of a plain delta of choice 0 has around its escaped text; None where it varies."""


def usage_object(usage: Usage) -> dict[str, Any]:
    """OpenAI's `CompletionUsage`."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


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


class _Encoder:
    """What both kinds share: the bytes before and after the choice, the usage chunk, and the obfuscation."""

    kind: ClassVar[str]
    """The `object` of the chunks."""

    def __init__(
        self, *, answer_id: str, model: str, created: int, include_usage: bool = False, obfuscate: bool = False
    ) -> None:
        head = {"id": answer_id, "object": self.kind, "created": created, "model": model}
        self._head = orjson.dumps(head)[:-1] + b',"choices":['
        # Before the usage chunk, OpenAI sends `usage: null` in every chunk, if usage was asked for.
        self._tail = b'],"usage":null}' if include_usage else b"]}"
        self._obfuscate = obfuscate
        self._offsets: dict[int, int] = {}
        """Characters of each choice so far, where its logprobs have to say."""
        # The commonest chunk by far is «a text of choice 0»: all of it but the text is known now.
        self._text_head = self._head + self._before_text(0)
        self._text_tail = self._after_text() + self._tail

    def _before_text(self, index: int) -> bytes:
        raise NotImplementedError

    def _after_text(self) -> bytes:
        raise NotImplementedError

    def _choice(self, delta: Delta) -> bytes:
        raise NotImplementedError

    def _end(self, index: int, finish_reason: FinishReason) -> bytes:
        raise NotImplementedError

    def delta(self, delta: Delta) -> bytes:
        if delta.index == 0 and delta.logprobs is None:
            chunk = self._text_head + orjson.dumps(delta.text) + self._text_tail
        else:
            chunk = self._head + self._choice(delta) + self._tail
        return _pad(chunk) if self._obfuscate else chunk

    def last(self, delta: Delta) -> list[bytes]:
        assert delta.finish_reason is not None
        end = self._head + self._end(delta.index, delta.finish_reason) + self._tail
        if self._obfuscate:
            end = _pad(end)
        return [self.delta(delta), end] if delta.text or delta.logprobs else [end]

    @property
    def text_template(self) -> tuple[bytes, bytes] | None:
        return None if self._obfuscate else (self._text_head, self._text_tail)

    def usage(self, usage: Usage) -> bytes:
        chunk = self._head + b'],"usage":' + orjson.dumps(usage_object(usage)) + b"}"
        return _pad(chunk) if self._obfuscate else chunk


def _pad(chunk: bytes) -> bytes:
    """Add the field `obfuscation`: random letters that fill `chunk` up to a multiple of the block."""
    frame = b',"obfuscation":""}'
    missing = -(len(chunk) - 1 + len(frame)) % OBFUSCATION_BLOCK
    letters = secrets.token_urlsafe(missing)[:missing].encode()
    return chunk[:-1] + frame[:-2] + letters + b'"}'


class ChatChunks(_Encoder):
    """`chat.completion.chunk` objects."""

    kind = "chat.completion.chunk"

    def opening(self, choices: int) -> list[bytes]:
        """One chunk per choice with the role and an empty content."""
        chunks = [
            self._head
            + b'{"index":%d,"delta":{"role":"assistant","content":"","refusal":null},' % index
            + b'"logprobs":null,"finish_reason":null}'
            + self._tail
            for index in range(choices)
        ]
        return [_pad(chunk) for chunk in chunks] if self._obfuscate else chunks

    def _before_text(self, index: int) -> bytes:
        return b'{"index":%d,"delta":{"content":' % index

    def _after_text(self) -> bytes:
        return b'},"logprobs":null,"finish_reason":null}'

    def _choice(self, delta: Delta) -> bytes:
        return orjson.dumps(
            {
                "index": delta.index,
                "delta": {"content": delta.text},
                "logprobs": chat_logprobs(delta.logprobs) if delta.logprobs is not None else None,
                "finish_reason": None,
            }
        )

    def _end(self, index: int, finish_reason: FinishReason) -> bytes:
        return b'{"index":%d,"delta":{},"logprobs":null,"finish_reason":"%b"}' % (index, finish_reason.encode())


class CompletionChunks(_Encoder):
    """`text_completion` objects, as the older route streams them."""

    kind = "text_completion"

    def opening(self, choices: int) -> list[bytes]:
        return []

    def _before_text(self, index: int) -> bytes:
        return b'{"index":%d,"text":' % index

    def _after_text(self) -> bytes:
        return b',"logprobs":null,"finish_reason":null}'

    def _choice(self, delta: Delta) -> bytes:
        logprobs = None
        if delta.logprobs is not None:
            offset = self._offsets.get(delta.index, 0)
            logprobs = completion_logprobs(delta.logprobs, offset)
            self._offsets[delta.index] = offset + sum(len(token.token) for token in delta.logprobs)
        return orjson.dumps(
            {
                "index": delta.index,
                "text": delta.text,
                "logprobs": logprobs,
                "finish_reason": None,
            }
        )

    def _end(self, index: int, finish_reason: FinishReason) -> bytes:
        return b'{"index":%d,"text":"","logprobs":null,"finish_reason":"%b"}' % (index, finish_reason.encode())


def completion_logprobs(tokens: Iterable[TokenLogprob], first_offset: int = 0) -> dict[str, Any]:
    """The `logprobs` object of a completion's choice; offsets count characters from the start of the text."""
    out: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    offset = first_offset
    for token in tokens:
        out["tokens"].append(token.token)
        out["token_logprobs"].append(token.logprob)
        out["top_logprobs"].append(None if token.logprob is None else {top.token: top.logprob for top in token.top})
        out["text_offset"].append(offset)
        offset += len(token.token)
    return out
