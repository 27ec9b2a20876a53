"""Encodes an answer's deltas as the events of a response.

    response.created  response.in_progress
      output_item.added                           a message, thoughts, a call
        content_part.added                        not for calls
          output_text.delta …  output_text.done   or those of reasoning_text, function_call_arguments,
        content_part.done                         custom_tool_call_input
      output_item.done
    response.completed, or .incomplete, or .failed

Every item that is opened is closed before the next is opened, and before the last event. Sequence numbers have no gaps.
"""

from __future__ import annotations

import orjson

from protocol.encoder import Event, FillingEncoder, NamedEvent, logprob_objects, pad
from protocol.errors import TwowireError
from protocol.output import Delta, Usage
from protocol.responses.answer import Answer, answer_to, has_something
from protocol.responses.objects import Object
from protocol.responses.output import ItemStatus, OutputItem
from protocol.responses.request import ResponseRequest

TERMINAL = {"completed": "response.completed", "incomplete": "response.incomplete", "cancelled": "response.incomplete"}
"""OpenAI has no event for a cancelled response."""


class ResponseEvents(FillingEncoder):
    """The events of one response."""

    def __init__(self, request: ResponseRequest, answer_id: str, created: int) -> None:
        self._start(answer_to(request, answer_id, created))
        self._obfuscate = request.include_obfuscation
        self._shows_logprobs = request.top_logprob_count is not None

    def _start(self, answer: Answer) -> None:
        self.text_template: tuple[bytes, bytes] | None = None
        self._whole = b""
        self._answer = answer
        self._obfuscate = self._shows_logprobs = False
        self._number = 0
        self._has_begun = False
        self._name = self._head = self._middle = b""
        """Of a delta of the open item: its event's name, and the bytes around its text, before the number."""

    def opening(self, choices: int, usage: Usage) -> list[Event]:
        self._has_begun = True
        names = ("response.created", "response.in_progress")
        return [self._event(name, response=self._answer.response) for name in names]

    def encode(self, delta: Delta) -> list[Event]:
        answer = self._answer
        answer.note_end(delta)
        if not has_something(delta):
            return []
        events: list[Event] = []
        item = answer.item_for(delta.part)
        if item is not answer.open:
            events = self._close("completed")
            events += self._begin(item)
        if delta.text or delta.logprobs:
            item.texts.append(delta.text)
            events.append(self._delta(item, delta))
        return events

    def _delta(self, item: OutputItem, delta: Delta) -> Event:
        if delta.logprobs and item.has_logprobs:
            item.logprobs.extend(delta.logprobs)
            text = orjson.dumps(delta.text) + b',"logprobs":' + orjson.dumps(logprob_objects(delta.logprobs))
            event = b'%b%b,"sequence_number":%d}' % (self._head, text, self._number)
        else:
            event = b"%b%b}" % (self._head, self.fill(delta.text))
        self._number += 1
        return NamedEvent(self._name, pad(event) if self._obfuscate else event)

    def fill(self, text: str) -> bytes:
        return b"%b%b%d" % (orjson.dumps(text), self._middle, self._number)

    def sent(self, text: str) -> None:
        self._number += 1
        item = self._answer.open
        assert item is not None
        item.texts.append(text)

    def _begin(self, item: OutputItem) -> list[Event]:
        self._answer.begin(item)
        # All of a delta's event but its text and its number is known now.
        self._name = item.delta_event.encode()
        self._head = orjson.dumps({"type": item.delta_event, **item.place})[:-1] + b',"delta":'
        self._middle = (b',"logprobs":[]' if item.has_logprobs else b"") + b',"sequence_number":'
        if not self._obfuscate and item.has_logprobs and not self._shows_logprobs:
            self.text_template = (NamedEvent(self._name, self._head), b"}")
        events = [self._event("response.output_item.added", output_index=item.index, item=item.object("in_progress"))]
        if item.has_parts:
            events.append(self._event("response.content_part.added", **item.place, part=item.part("")))
        return events

    def _close(self, status: ItemStatus) -> list[Event]:
        """Close the open item, if there is one."""
        item, closed = self._answer.open, self._answer.close(status)
        if item is None or closed is None:
            return []
        self.text_template = None
        text = item.text
        events = [self._event(item.done_event, **item.place, **item.done(text))]
        if item.has_parts:
            events.append(self._event("response.content_part.done", **item.place, part=item.part(text)))
        events.append(self._event("response.output_item.done", output_index=item.index, item=closed))
        return events

    def closing(self, usage: Usage) -> list[Event]:
        status = self._answer.end_status
        events: list[Event] = []
        if status == "completed" and self._answer.is_empty:
            events = self._begin(self._answer.item_for(None))
        events += self._close("completed" if status == "completed" else "incomplete")
        self._whole = self._answer.finish(usage)
        return events + self._last(TERMINAL[status])

    def error(self, error: TwowireError) -> list[Event]:
        """Closes what is open; nothing is after `closing`, in place of whose last event this comes then."""
        events = [] if self._has_begun else self.opening(1, Usage())
        events += self._close("incomplete")
        self._whole = self._answer.fail(error)
        return events + self._last("response.failed")

    def steer(self) -> bool:
        return self._answer.steer()

    def response(self) -> bytes:
        return self._whole or orjson.dumps(self._answer.response)

    @property
    def text_lengths(self) -> list[list[int]]:
        return self._answer.text_lengths

    def _last(self, name: str) -> list[Event]:
        # It has the whole response, which is encoded already. Its number stays free for another one in its place.
        event = b'{"type":"%b","sequence_number":%d,"response":%b}' % (name.encode(), self._number, self._whole)
        return [NamedEvent(name.encode(), event)]

    def _event(self, kind: str, /, **members: Object | str | int) -> Event:
        number, self._number = self._number, self._number + 1
        return NamedEvent(kind.encode(), orjson.dumps({"type": kind, "sequence_number": number, **members}))
