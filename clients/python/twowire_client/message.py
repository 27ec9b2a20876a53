"""Gathers the chunks of a chat into the assistant's message, as OpenAI's library does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]


class MessageBuilder:
    """The message of one choice so far: `add` each chunk, then take `message`."""

    def __init__(self, index: int = 0) -> None:
        self.finish_reason: str | None = None
        self._index = index
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, Json] = {}

    def add(self, chunk: Json) -> None:
        """Add a `chat.completion.chunk`."""
        for choice in chunk["choices"]:
            if choice["index"] != self._index:
                continue
            delta = choice["delta"]
            self._content.append(delta.get("content") or "")
            self._reasoning.append(delta.get("reasoning") or "")
            self._add_calls(delta.get("tool_calls") or ())
            self.finish_reason = choice.get("finish_reason") or self.finish_reason

    def _add_calls(self, deltas: Iterable[Json]) -> None:
        for delta in deltas:
            kind = "custom" if "custom" in delta else "function"
            if delta["index"] not in self._calls:
                # The id, type and name come once, with the call's first delta.
                self._calls[delta["index"]] = {key: delta[key] for key in ("id", "type")} | {kind: dict(delta[kind])}
                continue
            field = "input" if kind == "custom" else "arguments"
            self._calls[delta["index"]][kind][field] += delta[kind].get(field) or ""

    @property
    def message(self) -> Json:
        """The message, to append to the chat. `content` is None beside calls without any."""
        content, reasoning = "".join(self._content), "".join(self._reasoning)
        message: Json = {"role": "assistant", "content": content or (None if self._calls else "")}
        if reasoning:
            message["reasoning"] = reasoning
        if self._calls:
            message["tool_calls"] = [self._calls[index] for index in sorted(self._calls)]
        return message
