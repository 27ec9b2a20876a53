"""Encodes a stream of deltas as Anthropic's events.

`message_start`; for each content block `content_block_start`, its deltas and `content_block_stop`, one block after the
other; `message_delta` with the reason for the end and the usage; `message_stop`.
https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from typing import Any

import orjson

from protocol.encoder import Event, NamedEvent
from protocol.errors import Fault, TwowireError
from protocol.messages.errors import error_body
from protocol.messages.response import (
    SIGNATURE,
    Block,
    End,
    MessageHead,
    is_object,
    opens_block,
    text_block,
    tool_use_block,
    usage_object,
    whole_usage,
)
from protocol.output import Delta, ToolCallArguments, ToolCallStart, Usage

PING = b'event: ping\ndata: {"type":"ping"}\n\n'

_DELTA = b"content_block_delta"


class MessageEvents:
    """Encodes one stream. `message_start` comes with the first delta, when the engine knows what was cached."""

    def __init__(self, head: MessageHead) -> None:
        self.text_template: tuple[bytes, bytes] | None = None
        self._head = head
        self._usage = Usage()
        self._is_started = False
        self._block: Block | None = None
        """The open block. The texts of a call's are kept, to see whether they are JSON."""
        self._blocks = 0
        self._has_calls = False
        self._end = End()
        self._before_text = self._after_text = b""

    def opening(self, choices: int, usage: Usage) -> list[Event]:
        self._usage = usage
        return []

    def encode(self, delta: Delta) -> list[Event]:
        self._end.note(delta)
        events = self._start()
        if self._head.shows(delta):
            kind = opens_block(delta, self._block)
            if kind is not None:
                events += self._stop_block()
                events.append(self._start_block(Block(kind)))
            events += self._delta(delta)
        if delta.finish_reason is not None:
            events += self._stop_block(is_cut=delta.finish_reason == "length" or delta.stop_string is not None)
        return events

    def closing(self, usage: Usage) -> list[Event]:
        """The end of the message; one that was cancelled has no reason for it."""
        events = [*self._start(), *self._stop_block(is_cut=True)]
        if not self._blocks:
            events += [self._start_block(Block("text")), *self._stop_block()]
        stop_reason = self._end.stop_reason(self._head, usage, has_calls=self._has_calls)
        end = {
            "stop_reason": stop_reason,
            "stop_sequence": self._end.stop_string if stop_reason == "stop_sequence" else None,
            "stop_details": None,
            "container": None,
        }
        return [
            *events,
            _event(b"message_delta", delta=end, usage=usage_object(usage)),
            _event(b"message_stop"),
        ]

    def error(self, error: TwowireError) -> list[Event]:
        return [NamedEvent(b"error", error_body(error))]

    def _start(self) -> list[Event]:
        if self._is_started:
            return []
        self._is_started = True
        usage = Usage(self._usage.prompt_tokens, 0, self._usage.cached_tokens)
        return [_event(b"message_start", message=self._head.message() | {"usage": whole_usage(usage)})]

    def _start_block(self, block: Block) -> Event:
        self._block, index = block, self._blocks
        self._blocks += 1
        empty: dict[str, Any]
        if isinstance(block.kind, ToolCallStart):
            self._has_calls = True
            empty = tool_use_block(block.kind, {})
            kind, field = "input_json_delta", "partial_json"
        elif block.kind == "thinking":
            empty = {"type": "thinking", "thinking": "", "signature": ""}
            kind, field = "thinking_delta", "thinking"
        else:
            empty = text_block("")
            kind, field = "text_delta", "text"
        before = b'{"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":'
        self._before_text = NamedEvent(_DELTA, before % (index, kind.encode(), field.encode()))
        self._after_text = b"}}"
        self.text_template = (self._before_text, self._after_text) if block.kind == "text" else None
        return _event(b"content_block_start", index=index, content_block=empty)

    def _delta(self, delta: Delta) -> list[Event]:
        """The event of a delta's text. Raises `TwowireError` for arguments that come too late for an open block."""
        block, text = self._block, delta.text
        if isinstance(delta.part, ToolCallArguments) and (block is None or not block.is_call(delta.part.index)):
            # Some formats complete a call without arguments when another has begun; none are an empty object.
            if text != "{}":
                raise TwowireError(Fault.INVALID_TOOL_CALL, "The model mixed the arguments of two calls; try again.")
            return []
        if block is not None and isinstance(block.kind, ToolCallStart):
            block.texts.append(text)
        elif delta.part == "reasoning" and self._head.display == "omitted":
            return []
        return [NamedEvent(_DELTA, self._before_text + orjson.dumps(text) + self._after_text)] if text else []

    def _stop_block(self, *, is_cut: bool = False) -> list[Event]:
        """The end of the open block, if there is one; `is_cut` if the model would have gone on with it.

        Raises `TwowireError` for a call that no client could make. What was sent of it cannot be taken back, and a
        client that got an ordinary end might run the tool with what it can read.
        """
        block, self._block, self.text_template = self._block, None, None
        if block is None:
            return []
        index, events = self._blocks - 1, []
        if isinstance(block.kind, ToolCallStart):
            if not is_cut and not is_object("".join(block.texts)):
                message = f"The model called {block.kind.name!r} with arguments that are not a JSON object; try again."
                raise TwowireError(Fault.INVALID_TOOL_CALL, message)
        elif block.kind == "thinking":
            signature = {"type": "signature_delta", "signature": SIGNATURE}
            events.append(_event(_DELTA, index=index, delta=signature))
        return [*events, _event(b"content_block_stop", index=index)]


def _event(name: bytes, **members: Any) -> Event:
    return NamedEvent(name, orjson.dumps({"type": name.decode(), **members}))
