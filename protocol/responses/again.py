"""The events of a response that has ended, made again from what is kept of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from protocol.encoder import Event
from protocol.output import Delta, Part, TokenLogprob, ToolCallArguments, ToolCallStart, TopLogprob, Usage
from protocol.responses.answer import Answer, has_something
from protocol.responses.events import TERMINAL, ResponseEvents
from protocol.responses.objects import Object
from protocol.responses.tool_set import ToolName

_BEFORE = {"status": "in_progress", "completed_at": None, "error": None, "incomplete_details": None, "usage": None}
_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}


def events_again(response: Object, text_lengths: Sequence[Sequence[int]] = ()) -> Iterator[Event]:
    """The events of a stream of `response`: with the same ids and, given the stream's `text_lengths`, numbers.

    Without them, as for a response that was not streamed, each text comes in one delta. There is no obfuscation.
    """
    encoder = _EncoderAgain(response)
    yield from encoder.opening(1, Usage())
    for number, item in enumerate(response["output"]):
        lengths = text_lengths[number] if number < len(text_lengths) else None
        yield from encoder.item(number, item, lengths)
    yield from encoder.ending()


class _EncoderAgain(ResponseEvents):
    """Encodes the deltas of which a response was made."""

    def __init__(self, response: Object) -> None:
        # What the model called its tools is not kept. Any name will do, as it only leads to that of the client.
        names = {
            str(number): ToolName(item["name"], item.get("namespace"), item["type"] == "custom_tool_call")
            for number, item in enumerate(response["output"])
            if item["type"] in _CALLS
        }
        self._start(Answer(response | _BEFORE | {"output": []}, names))
        self._ended = response

    def item(self, number: int, item: Object, lengths: Sequence[int] | None) -> Iterator[Event]:
        """The events of one item, until it is closed, and those that close the one before."""
        part: Part | None = "reasoning" if item["type"] == "reasoning" else None
        logprobs: list[Any] = []
        if item["type"] in _CALLS:
            yield from self.encode(Delta(0, "", 0, part=ToolCallStart(number, item["call_id"], str(number))))
            part, text = ToolCallArguments(number), item[_CALLS[item["type"]]]
        else:
            content = item["content"][0]
            text, logprobs = content["text"], content.get("logprobs") or []
        for piece, tokens in _divided(text, logprobs, lengths):
            delta = Delta(0, piece, 0, logprobs=tokens or None, part=part)
            yield from self.encode(delta) if has_something(delta) else self._empty(delta)
        if self._answer.is_empty:
            # An answer of nothing is an empty message.
            yield from self._begin(self._answer.item_for(None))

    def _empty(self, delta: Delta) -> Iterator[Event]:
        """The events of a delta without text whose tokens come with a later one: it had its event, and a number."""
        item = self._answer.item_for(delta.part)
        if item is not self._answer.open:
            yield from self._close("completed")
            yield from self._begin(item)
        item.texts.append("")
        yield self._delta(item, delta)

    def ending(self) -> list[Event]:
        """The events after the last item."""
        output = self._ended["output"]
        events = self._close(output[-1]["status"]) if output else []
        self._whole = orjson.dumps(self._ended)
        return events + self._last(TERMINAL.get(self._ended["status"], "response.failed"))


def _divided(
    text: str, logprobs: list[Any], lengths: Sequence[int] | None
) -> Iterator[tuple[str, tuple[TokenLogprob, ...]]]:
    """A text in pieces of `lengths` characters, each with its tokens; in one piece without."""
    if lengths is None or sum(lengths) != len(text):
        lengths = [len(text)] if text or logprobs else []
    at = bytes_until = bytes_in_tokens = first = 0
    for number, length in enumerate(lengths, 1):
        piece, last, at = text[at : at + length], first, at + length
        bytes_until += len(piece.encode())
        # A piece without text is that of a token: one that ends within a character, say, whose text comes later.
        is_alone = not piece
        while last < len(logprobs) and (is_alone or bytes_in_tokens < bytes_until or number == len(lengths)):
            bytes_in_tokens += len(logprobs[last]["bytes"])
            last += 1
            is_alone = False
        yield piece, tuple(map(_token, logprobs[first:last]))
        first = last


def _token(shown: Object) -> TokenLogprob:
    top = (TopLogprob(one["token"], one["logprob"], bytes(one["bytes"])) for one in shown["top_logprobs"])
    return TokenLogprob(shown["token"], shown["logprob"], bytes(shown["bytes"]), tuple(top))
