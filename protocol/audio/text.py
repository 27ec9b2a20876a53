"""Puts the text of a recording together from that of its pieces, which the model writes down side by side."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from protocol.generation import Heard
from protocol.output import Delta, TokenLogprob

TAG = re.compile(r"<\|(\d{1,2}\.\d\d)\|>")
"""A time as Whisper writes it: seconds since the piece began."""

Part = tuple[str, tuple[TokenLogprob, ...]]
"""A text, with the log probabilities of its tokens if they were asked for."""


def without_tags(text: str) -> str:
    """`text` without times."""
    return TAG.sub("", text) if "<|" in text else text


class OrderedText:
    """The text so far, in the order of the pieces: what later pieces have is held back until the earlier ones end."""

    def __init__(self, pieces: int, *, spaces_words: bool = True) -> None:
        self.text = ""
        self._pieces = pieces
        self._space = " " if spaces_words else ""
        self._current = 0
        self._has_begun = False
        self._held: dict[int, list[Part]] = {}
        self._ended: set[int] = set()

    @property
    def is_plain(self) -> bool:
        """The next text goes out as it is: there is one piece, and it has begun."""
        return self._pieces == 1 and self._has_begun

    def add(self, delta: Delta) -> Iterator[Part]:
        """Take a delta, whose index is its piece; gives what can be sent now."""
        part = (without_tags(delta.text), delta.logprobs or ())
        if delta.index != self._current:
            self._held.setdefault(delta.index, []).append(part)
        else:
            yield from self._shown([part])
        if delta.finish_reason is not None:
            self._ended.add(delta.index)
        while self._current in self._ended:
            self._ended.remove(self._current)
            self._current += 1
            self._has_begun = False
            yield from self._shown(self._held.pop(self._current, []))

    def append(self, text: str) -> None:
        """Take a text that was sent already."""
        self.text += text

    def _shown(self, parts: Iterable[Part]) -> Iterator[Part]:
        for text, logprobs in parts:
            shown = text
            if not self._has_begun:
                shown = text.lstrip()
                if shown:
                    self._has_begun = True
                    if self.text and not self.text[-1].isspace():
                        shown = self._space + shown
            self.text += shown
            if shown or logprobs:
                yield shown, logprobs


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech, usually a sentence. Times are seconds since the recording began."""

    start_s: float
    end_s: float
    text: str
    avg_logprob: float
    """Of its tokens; 0 if their log probabilities were not asked for."""


def segments_of(heard: Heard, pieces: Iterable[Part]) -> list[Segment]:
    """The segments of a recording whose pieces have these texts, with times in them."""
    found: list[Segment] = []
    ends_s = (*heard.starts_s[1:], heard.duration_s)
    for start_s, end_s, (text, logprobs) in zip(heard.starts_s, ends_s, pieces, strict=True):
        spans = list(_spans(text, end_s - start_s))
        averages = _averages(logprobs)
        if len(averages) != len(spans):
            # The tokens' own texts do not add up to the text: a character may be split between them.
            mean = sum(averages) / len(averages) if averages else 0.0
            averages = [mean] * len(spans)
        found += [
            Segment(round(start_s + begin, 2), round(start_s + end, 2), words.strip(), average)
            for (begin, end, words), average in zip(spans, averages, strict=True)
        ]
    return found


def _spans(text: str, length_s: float) -> Iterator[tuple[float, float, str]]:
    """Begin, end and text of each segment of a piece. A time that lies outside of the piece, or before the last one,
    is moved."""
    begin = 0.0
    words = ""
    # Texts and times take turns.
    for number, part in enumerate(TAG.split(text)):
        if number % 2 == 0:
            words = part
            continue
        time_s = min(max(float(part), begin), length_s)
        if words.strip():
            yield begin, time_s, words
            words = ""
        begin = time_s
    if words.strip():
        yield begin, length_s, words


def _averages(logprobs: Iterable[TokenLogprob]) -> list[float]:
    """The mean log probability of each segment's tokens."""
    averages: list[float] = []
    text, values = "", list[float]()
    for token in logprobs:
        if not TAG.fullmatch(token.token):
            text += token.token
            values.append(token.logprob or 0.0)
            continue
        if text.strip():
            averages.append(sum(values) / len(values))
        text, values = "", []
    if text.strip():
        averages.append(sum(values) / len(values))
    return averages
