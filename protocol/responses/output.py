"""The items of an answer while it is made: one for each text, each thought and each call, in the model's order.

Three kinds, each with the events of its own: see `protocol.responses.events` for the order.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from protocol.output import TokenLogprob, ToolCallStart
from protocol.responses.objects import Object, text_part
from protocol.responses.tool_set import ToolName

ItemStatus = Literal["in_progress", "completed", "incomplete"]


class OutputItem:
    """An item that deltas add text to."""

    id_prefix: ClassVar[str]
    delta_event: ClassVar[str]
    done_event: ClassVar[str]
    has_parts: ClassVar[bool] = True
    """Its text is in a content part, which also has events."""
    has_logprobs: ClassVar[bool] = False
    """The events of its text have the member `logprobs`."""

    def __init__(self, answer_id: str, index: int) -> None:
        """`answer_id`: without its prefix. The item's id is made of it, so that an id leads to the response."""
        self.index = index
        self.id = f"{self.id_prefix}{answer_id}{index:04x}"
        self.texts: list[str] = []
        self.logprobs: list[TokenLogprob] = []

    @property
    def text(self) -> str:
        """Its text so far."""
        return "".join(self.texts)

    @property
    def place(self) -> Object:
        """Where its text stands, for the events of the text."""
        place: Object = {"item_id": self.id, "output_index": self.index}
        return place | {"content_index": 0} if self.has_parts else place

    def part(self, text: str) -> Object:
        """Its content part with `text`."""
        raise NotImplementedError

    def done(self, text: str) -> Object:
        """The members of the event with its complete text."""
        raise NotImplementedError

    def object(self, status: ItemStatus) -> Object:
        """The item as JSON, without its text while in progress."""
        raise NotImplementedError


class MessageOutput(OutputItem):
    """A text of the answer."""

    id_prefix = "msg_"
    delta_event = "response.output_text.delta"
    done_event = "response.output_text.done"
    has_logprobs = True

    def part(self, text: str) -> Object:
        return text_part(text, self.logprobs if text else ())

    def done(self, text: str) -> Object:
        return {"text": text, "logprobs": self.part(text)["logprobs"]}

    def object(self, status: ItemStatus) -> Object:
        content = [] if status == "in_progress" else [self.part(self.text)]
        return {"id": self.id, "type": "message", "status": status, "role": "assistant", "content": content}


class ReasoningOutput(OutputItem):
    """What the model thought. Open models show it, so it is the item's content; there is no summary."""

    id_prefix = "rs_"
    delta_event = "response.reasoning_text.delta"
    done_event = "response.reasoning_text.done"

    def part(self, text: str) -> Object:
        return {"type": "reasoning_text", "text": text}

    def done(self, text: str) -> Object:
        return {"text": text}

    def object(self, status: ItemStatus) -> Object:
        content = [] if status == "in_progress" else [self.part(self.text)]
        return {"id": self.id, "type": "reasoning", "status": status, "summary": [], "content": content}


class CallOutput(OutputItem):
    """A call of a function."""

    id_prefix = "fc_"
    delta_event = "response.function_call_arguments.delta"
    done_event = "response.function_call_arguments.done"
    has_parts = False

    def __init__(self, answer_id: str, index: int, start: ToolCallStart, name: ToolName) -> None:
        super().__init__(answer_id, index)
        self.call = start.index
        self._call_id = start.id
        self._name = name

    def done(self, text: str) -> Object:
        return {"name": self._name.name, "arguments": text}

    def object(self, status: ItemStatus) -> Object:
        return self._object("function_call", status) | {"arguments": "" if status == "in_progress" else self.text}

    def _object(self, kind: str, status: ItemStatus) -> Object:
        known = {"id": self.id, "type": kind, "status": status, "call_id": self._call_id, "name": self._name.name}
        return known if self._name.namespace is None else known | {"namespace": self._name.namespace}


class CustomCallOutput(CallOutput):
    """A call of a custom tool."""

    id_prefix = "ctc_"
    delta_event = "response.custom_tool_call_input.delta"
    done_event = "response.custom_tool_call_input.done"

    def done(self, text: str) -> Object:
        return {"input": text}

    def object(self, status: ItemStatus) -> Object:
        return self._object("custom_tool_call", status) | {"input": "" if status == "in_progress" else self.text}
