"""The events of a response that has ended, made again from what is kept of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from protocol.encoder import Event
from protocol.output import Delta, Part, TokenLogprob, ToolCallArguments, ToolCallStart, TopLogprob, Usage
from protocol.responses.answer import Answer
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
            yield from self.encode(Delta(0, piece, 0, logprobs=tokens or None, part=part))
        if self._answer.is_empty:
            # An answer of nothing is an empty message.
            yield from self._begin(self._answer.item_for(None))

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
    at = in_tokens = first = 0
    for number, length in enumerate(lengths, 1):
        last, at = first, at + length
        while last < len(logprobs) and (in_tokens < at or number == len(lengths)):
            in_tokens += len(logprobs[last]["token"])
            last += 1
        yield text[at - length : at], tuple(map(_token, logprobs[first:last]))
        first = last


def _token(shown: Object) -> TokenLogprob:
    top = (TopLogprob(one["token"], one["logprob"], bytes(one["bytes"])) for one in shown["top_logprobs"])
    return TokenLogprob(shown["token"], shown["logprob"], bytes(shown["bytes"]), tuple(top))
