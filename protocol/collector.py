"""Collects the deltas of one generation into a response that is not streamed, step by step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import orjson

from protocol.encoder import usage_object
from protocol.output import Delta, FinishReason, Part, PromptReport, Report, TokenLogprob, ToolCallStart, Usage


class ToolCall:
    """A tool call so far."""

    def __init__(self, start: ToolCallStart) -> None:
        self.id = start.id
        self.name = start.name
        self.arguments: list[str] = []


class Choice:
    """One choice so far."""

    def __init__(self) -> None:
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.tool_calls: dict[int, ToolCall] = {}
        self.logprobs: list[TokenLogprob] = []
        self.has_logprobs = False
        self.has_ids = False
        self.token_ids: list[int] = []
        """Of the tokens that are not thoughts."""
        self.reasoning_ids: list[int] = []
        self.prompt: PromptReport | None = None
        self.kv_transfer_params: Mapping[str, Any] | None = None
        self.finish_reason: FinishReason | None = None

    def add(self, delta: Delta) -> None:
        """Add one delta. The arguments of a tool call come after its start."""
        part = delta.part
        if part is None:
            self.content.append(delta.text)
        elif part == "reasoning":
            self.reasoning.append(delta.text)
        else:
            if isinstance(part, ToolCallStart):
                self.tool_calls[part.index] = ToolCall(part)
            self.tool_calls[part.index].arguments.append(delta.text)
        if delta.logprobs is not None:
            self.has_logprobs = True
            self.logprobs.extend(delta.logprobs)
        if delta.report is not None:
            self._add_report(delta.report, part)
        if delta.finish_reason is not None:
            self.finish_reason = delta.finish_reason

    def _add_report(self, report: Report, part: Part | None) -> None:
        (self.reasoning_ids if part == "reasoning" else self.token_ids).extend(report.token_ids)
        if report.prompt is not None:
            self.prompt = report.prompt
            self.has_ids = report.prompt.token_ids is not None
        if report.kv_transfer_params is not None:
            self.kv_transfer_params = report.kv_transfer_params


class ChoicesCollector:
    """OpenAI's response objects, whose choices differ between chat and completions: see the subclasses."""

    kind: ClassVar[str]
    """The `object` of the response."""

    def __init__(self, *, answer_id: str, model: str, created: int, choices: int) -> None:
        self._head = {"id": answer_id, "object": self.kind, "created": created, "model": model}
        self._choices = [Choice() for _ in range(choices)]

    def _choice_object(self, index: int, choice: Choice) -> dict[str, Any]:
        raise NotImplementedError

    def add(self, deltas: Iterable[Delta]) -> None:
        """Add one step."""
        for delta in deltas:
            self._choices[delta.index].add(delta)

    def body(self, usage: Usage) -> bytes:
        """The response object as JSON."""
        choices = [self._choice_object(index, choice) for index, choice in enumerate(self._choices)]
        return orjson.dumps(self._head | {"choices": choices, "usage": usage_object(usage)} | self._more())

    def _more(self) -> dict[str, Any]:
        """What the response has beside OpenAI's members."""
        found = next((choice.kv_transfer_params for choice in self._choices if choice.kv_transfer_params), None)
        return {} if found is None else {"kv_transfer_params": dict(found)}
