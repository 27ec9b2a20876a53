"""What a generation yields, whichever engine makes it and whichever wire carries it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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


@dataclass(slots=True)
class Usage:
    """Tokens counted so far. `cached_tokens` is the part of the prompt that came from the prefix cache."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    """The part of the completion that was thoughts."""
