"""The parts that a message and its stream share, and the message as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from pydantic_core import from_json

from protocol.messages.blocks import MAX_INPUT_DEPTH
from protocol.messages.request import ThinkingDisplay
from protocol.output import Delta, FinishReason, ToolCallArguments, ToolCallStart, Usage
from protocol.validation.request import is_nested_deeper

SIGNATURE = "dHdvd2lyZQ=="
"""The signature of every thinking block. Clients send it back; nothing here needs it."""

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"]


@dataclass(frozen=True, slots=True)
class MessageHead:
    """The members of a message that the model does not generate."""

    id: str
    model: str
    max_tokens: int
    display: ThinkingDisplay | None

    def message(self) -> dict[str, Any]:
        """The message before anything is generated."""
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "container": None,
            "usage": {},
        }

    def shows(self, delta: Delta) -> bool:
        """Whether a delta adds anything to the message."""
        if delta.part == "reasoning" and self.display is None:
            return False
        return bool(delta.text) or isinstance(delta.part, ToolCallStart)


@dataclass(slots=True)
class End:
    """Why an answer ended, as far as is known."""

    finish_reason: FinishReason | None = None
    stop_string: str | None = None

    def note(self, delta: Delta) -> None:
        """Record what a delta says about the end."""
        if delta.finish_reason is not None:
            self.finish_reason, self.stop_string = delta.finish_reason, delta.stop_string

    def stop_reason(self, head: MessageHead, usage: Usage, *, has_calls: bool) -> StopReason | None:
        """Anthropic's word for it; None for an answer that was cancelled.

        The limit wins, then a stop sequence, which may have cut a call. Anthropic says `tool_use` also of a call that
        the client has forced.
        """
        if self.finish_reason is None:
            return None
        if self.finish_reason == "length":
            return "max_tokens" if usage.completion_tokens >= head.max_tokens else "model_context_window_exceeded"
        if self.stop_string is not None:
            return "stop_sequence"
        return "tool_use" if has_calls else "end_turn"


def usage_object(usage: Usage) -> dict[str, Any]:
    """Anthropic's `MessageDeltaUsage`, cumulative. What came from the prefix cache is not part of `input_tokens`."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens} if usage.reasoning_tokens else None,
        "server_tool_use": None,
    }


def whole_usage(usage: Usage) -> dict[str, Any]:
    """Anthropic's `Usage`, of a message."""
    return usage_object(usage) | {"cache_creation": None, "inference_geo": None, "service_tier": "standard"}


def text_block(text: str) -> dict[str, Any]:
    """A block of text."""
    return {"type": "text", "text": text, "citations": None}


def tool_use_block(call: ToolCallStart, arguments: dict[str, Any]) -> dict[str, Any]:
    """A block of a call."""
    return {
        "type": "tool_use",
        "id": call.id,
        "name": call.name,
        "input": arguments,
        # Unlike code that runs on the server.
        "caller": {"type": "direct"},
    }


def is_object(arguments: str) -> bool:
    """Whether a call's arguments are what Anthropic's `input` must be: a JSON object. No arguments are an empty one.

    One that is nested too deeply to be sent back counts as none.
    """
    try:
        return _is_input(orjson.loads(arguments or "{}"))
    except orjson.JSONDecodeError:
        return False


def _is_input(value: object) -> bool:
    return isinstance(value, dict) and not is_nested_deeper(value, MAX_INPUT_DEPTH)


@dataclass(slots=True)
class Block:
    """A content block so far: `text`, `thinking`, or a call."""

    kind: Literal["text", "thinking"] | ToolCallStart
    texts: list[str] = field(default_factory=list)

    def is_call(self, index: int) -> bool:
        """Whether it is the answer's call number `index`."""
        return isinstance(self.kind, ToolCallStart) and self.kind.index == index


def opens_block(delta: Delta, last: Block | None) -> Literal["text", "thinking"] | ToolCallStart | None:
    """The kind of the block that a delta begins after the block `last`; None if it adds to one that has begun."""
    part = delta.part
    if isinstance(part, ToolCallStart):
        return part
    if isinstance(part, ToolCallArguments):
        return None
    kind: Literal["text", "thinking"] = "text" if part is None else "thinking"
    return kind if last is None or last.kind != kind else None


class MessageCollector:
    """Collects the deltas of one answer into a message."""

    def __init__(self, head: MessageHead) -> None:
        self._head = head
        self._blocks: list[Block] = []
        self._end = End()

    def add(self, deltas: Iterable[Delta]) -> None:
        """Add one step."""
        for delta in deltas:
            self._end.note(delta)
            if not self._head.shows(delta):
                continue
            kind = opens_block(delta, self._blocks[-1] if self._blocks else None)
            if kind is not None:
                self._blocks.append(Block(kind))
            block = self._blocks[-1]
            if isinstance(delta.part, ToolCallArguments):
                # Some formats complete a call when another has begun.
                block = next(block for block in self._blocks if block.is_call(delta.part.index))
            block.texts.append(delta.text)

    def body(self, usage: Usage) -> bytes:
        """The message as JSON."""
        content = [self._content(block) for block in self._blocks] or [text_block("")]
        has_calls = any(block["type"] == "tool_use" for block in content)
        stop_reason = self._end.stop_reason(self._head, usage, has_calls=has_calls)
        made = {
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": self._end.stop_string if stop_reason == "stop_sequence" else None,
            "usage": whole_usage(usage),
        }
        return orjson.dumps(self._head.message() | made)

    def _content(self, block: Block) -> dict[str, Any]:
        text = "".join(block.texts)
        if block.kind == "text":
            return text_block(text)
        if block.kind == "thinking":
            shown = "" if self._head.display == "omitted" else text
            return {"type": "thinking", "thinking": shown, "signature": SIGNATURE}
        call = block.kind
        arguments = _input(text, is_cut=block is self._blocks[-1] and self._is_cut)
        if arguments is None:
            # Without its arguments, the client would run the tool with none.
            return text_block(f'{{"name": "{call.name}", "arguments": {text}}}')
        return tool_use_block(call, arguments)

    @property
    def _is_cut(self) -> bool:
        """The answer was ended from outside, perhaps in the middle of a call."""
        return self._end.finish_reason in ("length", None) or self._end.stop_string is not None


def _input(arguments: str, *, is_cut: bool) -> dict[str, Any] | None:
    """The object that a call's arguments spell, as far as they came where they are cut; None if they spell none."""
    if is_object(arguments):
        return dict(orjson.loads(arguments or "{}"))
    if not is_cut:
        return None
    try:
        begun: Any = from_json(arguments, allow_partial=True)
    except ValueError:
        return None
    return begun if _is_input(begun) else None
