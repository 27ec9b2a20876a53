"""What the counting engine of `tests.live.servers.fake_server` says to a request."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from protocol.generation import ChatPrompt, GenerationRequest
from protocol.output import TokenLogprob, TopLogprob

ENDLESS = 10**9


def word(number: int) -> str:
    """The text of the answer's token `number`."""
    return f"{number} "


@dataclass(frozen=True)
class Script:
    """What is said: the text of each token, and after how many it ends, and why."""

    word: Callable[[int], str]
    tokens: int
    finish_reason: Literal["stop", "length"] = "length"
    candidates: int | None = None
    """How many to report beside each token; None for no log probabilities."""

    def logprobs(self, first: int, end: int) -> tuple[TokenLogprob, ...] | None:
        """Those of the tokens from `first`; every third is likely, and so on."""
        if self.candidates is None:
            return None
        return tuple(self._logprob(number, self.candidates) for number in range(first, end))

    def _logprob(self, number: int, candidates: int) -> TokenLogprob:
        text, share = self.word(number), (0.97, 0.6, 0.3)[number % 3]
        others = [(f"{text.strip()}{'?' * place} ", (1 - share) / 2**place) for place in range(1, candidates)]
        top = [(text, share), *others][:candidates]
        return TokenLogprob(
            text,
            math.log(share),
            text.encode(),
            tuple(TopLogprob(other, math.log(part), other.encode()) for other, part in top),
        )


def script_of(request: GenerationRequest) -> Script:
    """What the last question asks for, within the limit."""
    limit = request.sampling.max_tokens or ENDLESS
    chat = request.prompt
    if not isinstance(chat, ChatPrompt):
        return Script(word, limit)
    text = next((text_in(message["content"]) for message in reversed(chat.messages) if message["role"] == "user"), "")
    begun = chat.messages[-1]["content"] if chat.continue_final_message else ""
    if text.startswith("Say: "):
        said = re.findall(r"\s*\S+\s*?", text.removeprefix("Say: ").removeprefix(begun))
        return _within(limit, Script(lambda number: said[number], len(said), "stop"))
    if counting := re.search(r"Count from (\d+) to (\d+)", text):
        first, last = int(counting[1]), int(counting[2])
        if numbers := re.findall(r"\d+", begun):
            first = int(numbers[-1]) + 1
        return _within(limit, Script(lambda number: word(first + number), last - first + 1, "stop"))
    return Script(word, limit)


def text_in(content: str | list[dict[str, Any]]) -> str:
    """The text of a message's content, without its images."""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _within(limit: int, script: Script) -> Script:
    return script if script.tokens <= limit else replace(script, tokens=limit, finish_reason="length")
