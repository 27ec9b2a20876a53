"""Collects a completion's deltas into a `text_completion` object."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from protocol.collector import Choice, ChoicesCollector
from protocol.completions.chunks import completion_finish_reason, completion_logprobs
from protocol.output import Delta
from protocol.reports import prompt_members


class CompletionCollector(ChoicesCollector):
    """A `text_completion` object. It has content only: reasoning and tool calls are left out."""

    kind = "text_completion"

    def add(self, deltas: Iterable[Delta]) -> None:
        """Add one step."""
        super().add(
            delta
            if delta.part is None
            else Delta(delta.index, "", delta.tokens, delta.finish_reason, report=delta.report)
            for delta in deltas
        )

    def _choice_object(self, index: int, choice: Choice) -> dict[str, Any]:
        reason = choice.finish_reason
        made = {
            "index": index,
            "text": "".join(choice.content),
            "logprobs": completion_logprobs(choice.logprobs) if choice.has_logprobs else None,
            "finish_reason": completion_finish_reason(reason) if reason is not None else None,
        }
        if choice.has_ids:
            made["token_ids"] = choice.token_ids
        return made | prompt_members(choice.prompt)
