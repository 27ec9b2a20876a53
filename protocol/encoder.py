"""Encodes deltas as events, once, for whichever wire carries them.

An event is the data alone; the wire frames it. Encoders are on the path of every token: what the events of a stream
share is encoded when the stream starts, and a plain delta is one concatenation around its escaped text.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any, ClassVar, Protocol

import orjson

from protocol.errors import TwowireError, error_bytes
from protocol.output import Delta, FinishReason, TokenLogprob, Usage

OBFUSCATION_BLOCK = 64
"""With obfuscation, every chunk's length is a multiple of this many bytes, so that it tells little of the text's."""

Event = bytes
"""The data of an event, in one line. All of OpenAI's chat events are nameless: one is made per token, and a plain
`bytes` costs nothing more."""


class NamedEvent(Event):
    """An event with a name, which server-sent events carry as `event:`. Names are ASCII, without line breaks."""

    name: bytes

    def __new__(cls, name: bytes, data: bytes) -> NamedEvent:
        event = super().__new__(cls, data)
        event.name = name
        return event


class StreamEncoder(Protocol):
    """Encodes one stream. The methods are called in this order, each with what came since the last call."""

    text_template: tuple[bytes, bytes] | None
    """The event of a plain text of choice 0: the bytes before and after the escaped text.

    The first is a `NamedEvent` where the event has a name. None while there is no such event, or it varies. It may
    change with every call of a method: tokens take the fast path only while it is set.
    """

    def opening(self, choices: int, usage: Usage) -> list[Event]:
        """The events before the first delta. `usage` counts on while the stream runs."""

    def encode(self, delta: Delta) -> list[Event]:
        """The events of one delta; none if the API cannot show it."""

    def closing(self, usage: Usage) -> list[Event]:
        """The events after the last delta of all choices."""

    def error(self, error: TwowireError) -> list[Event]:
        """The events that end the stream in place of what is still missing."""


class KeptEncoder(StreamEncoder, Protocol):
    """Encodes a stream whose response can be stored and read again.

    `error` may follow `closing`, whose last event was not sent then.
    """

    def response(self) -> bytes:
        """The response object of the last event that has it, as JSON."""

    def steer(self) -> bool:
        """Whether the response may end where it is, to be continued with new input; `closing` says so then."""

    @property
    def text_lengths(self) -> list[list[int]]:
        """Of each item of the response, how many characters each delta had: what the response does not say."""


class FillingEncoder:
    """A `StreamEncoder` that must see each text, because the events of two equal texts differ.

    It fills in what varies between the two halves of `text_template`.
    """

    def fill(self, text: str) -> bytes:
        """The bytes between the halves of `text_template` for a text that may be sent next."""
        raise NotImplementedError

    def sent(self, text: str) -> None:
        """Record that the text was sent, on the fast path."""
        raise NotImplementedError


def logprob_objects(tokens: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
    """The log probabilities of a text's tokens, as chats and responses write them."""
    return [
        {
            "token": token.token,
            "logprob": token.logprob,
            "bytes": list(token.utf8),
            "top_logprobs": [
                {"token": top.token, "logprob": top.logprob, "bytes": list(top.utf8)} for top in token.top
            ],
        }
        for token in tokens
    ]


def usage_object(usage: Usage) -> dict[str, Any]:
    """OpenAI's `CompletionUsage`."""
    counted: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
    if usage.image_tokens:
        counted["prompt_tokens_details"]["image_tokens"] = usage.image_tokens
    if usage.audio_tokens:
        counted["prompt_tokens_details"]["audio_tokens"] = usage.audio_tokens
    if usage.reasoning_tokens:
        counted["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return counted


class ChunkEncoder:
    """OpenAI's chunks, whose choices differ between chat and completions: see the subclasses."""

    kind: ClassVar[str]
    """The `object` of the chunks."""

    def __init__(
        self, *, answer_id: str, model: str, created: int, include_usage: bool = False, obfuscate: bool = False
    ) -> None:
        head = {"id": answer_id, "object": self.kind, "created": created, "model": model}
        self._head = orjson.dumps(head)[:-1] + b',"choices":['
        # Before the usage chunk, OpenAI sends `usage: null` in every chunk, if usage was asked for.
        self._tail = b'],"usage":null}' if include_usage else b"]}"
        self._include_usage = include_usage
        self._obfuscate = obfuscate
        # By far the most common chunk is a text of choice 0. All of it but the text is known now.
        self._text_head = self._head + self._before_text(0)
        self._text_tail = self._after_text() + self._tail
        self.text_template = None if obfuscate else (self._text_head, self._text_tail)

    def _before_text(self, index: int) -> bytes:
        raise NotImplementedError

    def _after_text(self) -> bytes:
        raise NotImplementedError

    def _choice(self, delta: Delta) -> bytes | None:
        """The choice object of a delta, without its `finish_reason`; None if the API cannot show it."""
        raise NotImplementedError

    def _tail_of(self, delta: Delta) -> bytes:
        """What follows the choice object of a delta that is more than plain text."""
        return self._tail

    def _end(self, index: int, finish_reason: FinishReason) -> bytes:
        """The choice object of a choice's end."""
        raise NotImplementedError

    def opening(self, choices: int, usage: Usage) -> list[Event]:
        return []

    def encode(self, delta: Delta) -> list[Event]:
        """One chunk; at the end of a choice another one, with the `finish_reason` alone.

        As OpenAI does it: clients that take a `finish_reason` for the end do not read the text beside it.
        """
        if delta.finish_reason is not None:
            return self._last(delta)
        if delta.index == 0 and delta.logprobs is None and delta.part is None and delta.report is None:
            chunk = self._text_head + orjson.dumps(delta.text) + self._text_tail
        elif (choice := self._choice(delta)) is not None:
            chunk = self._head + choice + self._tail_of(delta)
        else:
            return []
        return [pad(chunk)] if self._obfuscate else [chunk]

    def _last(self, delta: Delta) -> list[Event]:
        assert delta.finish_reason is not None
        chunks = []
        has_more = delta.text or delta.logprobs or delta.part or delta.report
        if has_more and (choice := self._choice(delta)) is not None:
            chunks.append(self._head + choice + self._tail_of(delta))
        chunks.append(self._head + self._end(delta.index, delta.finish_reason) + self._tail)
        return [pad(chunk) for chunk in chunks] if self._obfuscate else chunks

    def closing(self, usage: Usage) -> list[Event]:
        """The usage chunk, if it was asked for."""
        if not self._include_usage:
            return []
        chunk = self._head + b'],"usage":' + orjson.dumps(usage_object(usage)) + b"}"
        return [pad(chunk) if self._obfuscate else chunk]

    def error(self, error: TwowireError) -> list[Event]:
        """OpenAI's error object, as in the body of a refusal."""
        return [error_bytes(error)]


def pad(chunk: bytes) -> bytes:
    """Add the field `obfuscation`: random letters that fill `chunk` up to a multiple of the block."""
    frame = b',"obfuscation":""}'
    missing = -(len(chunk) - 1 + len(frame)) % OBFUSCATION_BLOCK
    letters = secrets.token_urlsafe(missing)[:missing].encode()
    return chunk[:-1] + frame[:-2] + letters + b'"}'
