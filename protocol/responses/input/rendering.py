"""Turns the items of a dialogue into the messages of a chat.

What a chat completion would have as one message of the assistant is several items here: reasoning, text, calls. They
become one message again, so that the model reads the same prompt whichever API the client uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protocol.chat.content import template_content, text_of
from protocol.chat.messages import arguments_object
from protocol.errors import Fault, TwowireError
from protocol.responses.input.items import (
    MAX_ITEMS,
    AnyItem,
    CallOutputItem,
    CompactionItem,
    CustomCallItem,
    FunctionCallItem,
    MessageItem,
    ReasoningItem,
    ReferenceItem,
)
from protocol.responses.tool_set import flat_name
from protocol.validation.request import quoted

Message = dict[str, Any]


def rendered(instructions: str | None, earlier: Sequence[AnyItem], items: Sequence[AnyItem]) -> list[Message]:
    """The messages of a chat: the instructions, the items of earlier turns, those of the request.

    Raises `TwowireError` for an output whose call is nowhere, for a reference, and for too many items.
    """
    if len(earlier) + len(items) > MAX_ITEMS:
        message = f"input must have at most {MAX_ITEMS} items with those of earlier turns, got {len(earlier)} of these."
        raise TwowireError(Fault.INVALID_VALUE, message, param="input")
    dialogue = _Dialogue(instructions)
    for item in earlier:
        dialogue.add(item, "input")
    for number, item in enumerate(items):
        dialogue.add(item, f"input[{number}]")
    return dialogue.messages


class _Dialogue:
    """The messages so far."""

    def __init__(self, instructions: str | None) -> None:
        self.messages: list[Message] = []
        if instructions:
            self.messages.append({"role": "system", "content": instructions})
        self._turn: Message | None = None
        """The assistant's message that more items may belong to."""
        self._calls: set[str] = set()

    def add(self, item: AnyItem, at: str) -> None:
        match item:
            case MessageItem(role="assistant"):
                self._say(text_of(item.content))
            case MessageItem():
                self._append({"role": item.role, "content": template_content(item.content, f"{at}.content")})
            case ReasoningItem():
                self._think(item.text)
            case FunctionCallItem():
                self._call(item, arguments_object(item.arguments))
            case CustomCallItem():
                self._call(item, {"input": item.input})
            case CallOutputItem():
                self._answer(item, at)
            case CompactionItem():
                self._append({"role": "user", "content": f"Summary of the conversation so far:\n\n{item.text}"})
            case ReferenceItem():
                message = f"{at}.id: there is no item {quoted(item.id)}, or it is not yours."
                raise TwowireError(Fault.INVALID_VALUE, message, param=f"{at}.id")

    def _append(self, message: Message) -> None:
        self.messages.append(message)
        self._turn = None

    def _begin(self) -> Message:
        self._turn = {"role": "assistant", "content": ""}
        self.messages.append(self._turn)
        return self._turn

    def _say(self, text: str) -> None:
        turn = self._turn
        # A text right after a text is a message of its own; after a call, it continues the turn.
        if turn is None or (turn["content"] and "tool_calls" not in turn):
            turn = self._begin()
        turn["content"] += text

    def _think(self, text: str) -> None:
        if text:
            turn = self._turn or self._begin()
            # Some templates read one of these, others the other.
            turn["reasoning"] = turn["reasoning_content"] = turn.get("reasoning", "") + text

    def _call(self, item: FunctionCallItem | CustomCallItem, arguments: dict[str, Any]) -> None:
        self._calls.add(item.call_id)
        turn = self._turn or self._begin()
        function = {"name": flat_name(item.name, item.namespace), "arguments": arguments}
        turn.setdefault("tool_calls", []).append({"id": item.call_id, "type": "function", "function": function})

    def _answer(self, item: CallOutputItem, at: str) -> None:
        if item.call_id not in self._calls:
            message = f"{at}.call_id: no call has the id {quoted(item.call_id)}."
            raise TwowireError(Fault.INVALID_VALUE, message, param=f"{at}.call_id")
        output = template_content(item.output, f"{at}.output")
        self._append({"role": "tool", "content": output, "tool_call_id": item.call_id})
