"""Folds deltas into a response object. Streams and whole responses use the same fold, so that they cannot differ."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

import orjson

from protocol.errors import Fault, TwowireError
from protocol.output import Delta, FinishReason, Part, ToolCallArguments, ToolCallStart, Usage
from protocol.responses.objects import ID_PREFIX, Object, ResponseStatus, error_of, response_object, usage_of
from protocol.responses.output import (
    CallOutput,
    CustomCallOutput,
    ItemStatus,
    MessageOutput,
    OutputItem,
    ReasoningOutput,
)
from protocol.responses.request import ResponseRequest
from protocol.responses.tool_set import ToolName


class Answer:
    """A response in progress. One item is open at a time; the next one closes it."""

    def __init__(self, response: Object, names: Mapping[str, ToolName]) -> None:
        """`response`: a new one, without output. `names`: those of its tools, by what the model calls them."""
        self.response = response
        self.open: OutputItem | None = None
        self._id = str(response["id"]).removeprefix(ID_PREFIX)
        self._items = 0
        self._closed: list[OutputItem] = []
        self._names = names
        self._finish_reason: FinishReason | None = None
        self._is_steered = False

    def item_for(self, part: Part | None) -> OutputItem:
        """The item for a text of this part: the open one, or a new one, which is not yet open.

        Raises `TwowireError` for arguments of a call that is closed.
        """
        item = self.open
        match part:
            case None:
                return item if isinstance(item, MessageOutput) else MessageOutput(self._id, self._items)
            case "reasoning":
                return item if isinstance(item, ReasoningOutput) else ReasoningOutput(self._id, self._items)
            case ToolCallStart():
                name = self._names.get(part.name) or ToolName(part.name, None, is_custom=False)
                return (CustomCallOutput if name.is_custom else CallOutput)(self._id, self._items, part, name)
            case ToolCallArguments():
                if not isinstance(item, CallOutput) or item.call != part.index:
                    # Its item is closed, and sent.
                    raise TwowireError(
                        Fault.INVALID_TOOL_CALL, "The model mixed the arguments of two calls; try again."
                    )
                return item

    def close(self, status: ItemStatus = "completed") -> Object | None:
        """Close the open item, if there is one; it is part of the output now."""
        item, self.open = self.open, None
        if item is None:
            return None
        closed = item.object(status)
        self._closed.append(item)
        self.response["output"].append(closed)
        return closed

    def begin(self, item: OutputItem) -> None:
        """Open a new item, after `close`."""
        self.open = item
        self._items += 1

    def note_end(self, delta: Delta) -> None:
        """Keep the reason, if the answer ends with this delta."""
        if delta.finish_reason is not None:
            self._finish_reason = delta.finish_reason

    @property
    def text_lengths(self) -> list[list[int]]:
        """Of each closed item, how many characters each of its deltas had."""
        return [[len(text) for text in item.texts] for item in self._closed]

    @property
    def is_empty(self) -> bool:
        """Whether there is no item yet."""
        return not self._items

    def steer(self) -> bool:
        """Whether it may end where it is, because it has called nothing; it is incomplete then."""
        has_called = any(isinstance(item, CallOutput) for item in (*self._closed, self.open))
        # Once steered, it stays so: what the engine had made by then may still add a call.
        self._is_steered = self._is_steered or not has_called
        return self._is_steered

    @property
    def end_status(self) -> ResponseStatus:
        """How the response has ended: without a reason, it was steered or cancelled."""
        match self._finish_reason:
            case None:
                return "incomplete" if self._is_steered else "cancelled"
            case "length":
                return "incomplete"
            case _:
                return "completed"

    def finish(self, usage: Usage) -> bytes:
        """The whole response. All items must be closed."""
        status = self.end_status
        self.response |= {"status": status, "usage": usage_of(usage)}
        if status == "completed":
            self.response["completed_at"] = int(time.time())
        elif status == "incomplete":
            reason = "steered" if self._finish_reason is None else "max_output_tokens"
            self.response["incomplete_details"] = {"reason": reason}
        return orjson.dumps(self.response)

    def fail(self, error: TwowireError) -> bytes:
        """The whole response, which has failed. All items must be closed."""
        ended = {"completed_at": None, "incomplete_details": None, "error": error_of(error)}
        self.response |= {"status": "failed"} | ended
        return orjson.dumps(self.response)


def answer_to(request: ResponseRequest, answer_id: str, created: int) -> Answer:
    """The response to a request, before anything was generated."""
    return Answer(response_object(request, answer_id, created), request.tool_set.names)


class ResponseCollector:
    """Collects a whole response."""

    def __init__(self, request: ResponseRequest, answer_id: str, created: int) -> None:
        self._answer = answer_to(request, answer_id, created)

    def add(self, deltas: Iterable[Delta]) -> None:
        """Add one step."""
        answer = self._answer
        for delta in deltas:
            answer.note_end(delta)
            if not has_something(delta):
                continue
            item = answer.item_for(delta.part)
            if item is not answer.open:
                answer.close()
                answer.begin(item)
            item.texts.append(delta.text)
            item.logprobs.extend(delta.logprobs or ())

    def body(self, usage: Usage) -> bytes:
        """The response object as JSON."""
        answer = self._answer
        is_complete = answer.end_status == "completed"
        if answer.is_empty and is_complete:
            answer.begin(answer.item_for(None))
        answer.close("completed" if is_complete else "incomplete")
        return answer.finish(usage)


def has_something(delta: Delta) -> bool:
    """Whether a delta adds to the answer. The last step, and those whose text is held back, may not."""
    return bool(delta.text or delta.logprobs or isinstance(delta.part, ToolCallStart))
