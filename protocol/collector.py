"""Folds the deltas of one generation into the answer that is not streamed.

Does not know where the deltas come from; it is fed step by step, so that nobody has to keep them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from protocol.encoder import chat_logprobs, completion_logprobs, usage_object
from protocol.output import Delta, FinishReason, TokenLogprob, Usage


class _Choice:
    """One choice as far as it is known."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.logprobs: list[TokenLogprob] = []
        self.has_logprobs = False
        self.finish_reason: FinishReason | None = None

    def add(self, delta: Delta) -> None:
        self.texts.append(delta.text)
        if delta.logprobs is not None:
            self.has_logprobs = True
            self.logprobs.extend(delta.logprobs)
        if delta.finish_reason is not None:
            self.finish_reason = delta.finish_reason


class Answer:
    """The answer of `choices` choices; `add` every step's deltas, then take `body`."""

    def __init__(
        self,
        kind: str,
        choice_object: Callable[[int, _Choice], dict[str, Any]],
        *,
        answer_id: str,
        model: str,
        created: int,
        choices: int,
    ) -> None:
        self._head = {"id": answer_id, "object": kind, "created": created, "model": model}
        self._choice_object = choice_object
        self._choices = [_Choice() for _ in range(choices)]

    def add(self, deltas: Iterable[Delta]) -> None:
        """Add one step."""
        for delta in deltas:
            self._choices[delta.index].add(delta)

    def body(self, usage: Usage) -> bytes:
        """The JSON of OpenAI's response object."""
        choices = [self._choice_object(index, choice) for index, choice in enumerate(self._choices)]
        return orjson.dumps(self._head | {"choices": choices, "usage": usage_object(usage)})


def chat_answer(*, answer_id: str, model: str, created: int, choices: int) -> Answer:
    """Folds into a `chat.completion`."""
    return Answer("chat.completion", _chat_choice, answer_id=answer_id, model=model, created=created, choices=choices)


def completion_answer(*, answer_id: str, model: str, created: int, choices: int) -> Answer:
    """Folds into a `text_completion`."""
    return Answer(
        "text_completion",
        _completion_choice,
        answer_id=answer_id,
        model=model,
        created=created,
        choices=choices,
    )


def _chat_choice(index: int, choice: _Choice) -> dict[str, Any]:
    return {
        "index": index,
        "message": {"role": "assistant", "content": "".join(choice.texts), "refusal": None},
        "logprobs": chat_logprobs(choice.logprobs) if choice.has_logprobs else None,
        "finish_reason": choice.finish_reason,
    }


def _completion_choice(index: int, choice: _Choice) -> dict[str, Any]:
    return {
        "index": index,
        "text": "".join(choice.texts),
        "logprobs": completion_logprobs(choice.logprobs) if choice.has_logprobs else None,
        "finish_reason": choice.finish_reason,
    }
