"""What a generation yields, whichever engine makes it and whichever wire carries it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FinishReason = Literal["stop", "length"]
"""The part of OpenAI's closed set that a text engine can give."""

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
    """A generated (or echoed) token with the candidates that stood beside it.

    `logprob` is None only for the first token of an echoed prompt, which nothing predicts.
    """

    token: str
    logprob: float | None
    utf8: bytes
    top: tuple[TopLogprob, ...] = ()


# Not frozen: one is built per token, and a frozen dataclass takes three times as long to build.
@dataclass(slots=True)
class Delta:
    """What one engine step added to one choice.

    `text` may be empty while `tokens` is not: a stop string, or a character of several bytes, holds text back.
    `finish_reason` is set on the last delta of a choice and only there.
    """

    index: int
    text: str
    tokens: int
    finish_reason: FinishReason | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None


@dataclass(slots=True)
class Usage:
    """Tokens counted so far. `cached_tokens` is the part of the prompt that came from the prefix cache."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
