"""What a generation yields, whichever engine makes it and whichever wire carries it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

FinishReason = Literal["stop", "length", "tool_calls", "function_call"]
"""Why a choice ended, in OpenAI's words: those of its closed set that are given here."""

Status = Literal["completed", "cancelled", "failed"]
"""How a stream ended."""


@dataclass(frozen=True, slots=True)
class TopLogprob:
    """One candidate for a position: its text, its natural-log probability (finite), and its UTF-8 bytes if known."""

    token: str
    logprob: float
    utf8: bytes


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A generated (or echoed) token with the other candidates for its position.

    `logprob` is None only for the first token of an echoed prompt, which nothing predicts.
    """

    token: str
    logprob: float | None
    utf8: bytes
    top: tuple[TopLogprob, ...] = ()


class Candidate(Protocol):
    """A candidate for a position of the prompt, as the engine has it."""

    logprob: float
    rank: int | None
    decoded_token: str | None


@dataclass(frozen=True, slots=True)
class PromptReport:
    """What is reported of a prompt. `logprobs` has an entry for each token, candidates by id, and None for the first,
    which nothing predicts."""

    token_ids: Sequence[int] | None = None
    logprobs: Sequence[Mapping[int, Candidate] | None] | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What is reported beside the text of a delta, for a request that asks for it."""

    token_ids: Sequence[int] = ()
    """The ids of the delta's tokens."""
    prompt: PromptReport | None = None
    """With the first delta of a choice."""
    kv_transfer_params: Mapping[str, Any] | None = None
    """With the last: where another engine finds the KV cache."""


@dataclass(frozen=True, slots=True)
class ToolCallStart:
    """The start of a tool call; the text beside it, if any, begins its arguments. `index` counts a choice's calls."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolCallArguments:
    """Of the tool call `index`, which has started: the text continues its arguments, which are JSON."""

    index: int


Part = Literal["reasoning"] | ToolCallStart | ToolCallArguments
"""What a text is part of, if not of the content."""


# Not frozen: one is built per token, and a frozen dataclass takes three times as long to build. For the same reason
# this is one class, with one field for everything that is not plain content.
@dataclass(slots=True)
class Delta:
    """What one engine step added to one choice. A step that added to several parts of a choice gives several deltas.

    `text` is content unless `part` is set. It may be empty while `tokens` is not: a stop string, or a character of
    several bytes, holds text back. `finish_reason` is set on the last delta of a choice and only there, and beside it
    `stop_string` if one of the request's has ended the choice.
    """

    index: int
    text: str
    tokens: int
    finish_reason: FinishReason | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None
    part: Part | None = None
    stop_string: str | None = None
    report: Report | None = None


@dataclass(slots=True)
class Usage:
    """Tokens counted so far. `cached_tokens` is the part of the prompt that came from the prefix cache."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    """The part of the completion that was thoughts."""
    image_tokens: int = 0
    """The part of the prompt that was images."""
    audio_tokens: int = 0
    """The part of the prompt that was sound."""
