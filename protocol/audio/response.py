"""The whole text of a recording, in the format that was asked for."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable
from typing import Any

import orjson

from protocol.audio.request import Format, SpeechRequest
from protocol.audio.subtitles import srt, vtt
from protocol.audio.text import OrderedText, Part, Segment, segments_of
from protocol.generation import Heard
from protocol.output import Delta, TokenLogprob, Usage

CONTENT_TYPES: dict[Format, str] = {
    "json": "application/json",
    "verbose_json": "application/json",
    "text": "text/plain; charset=utf-8",
    "srt": "text/plain; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}
TRANSLATED = "english"
"""The language of all translations."""


def usage_in_tokens(usage: Usage, heard: Heard) -> dict[str, Any]:
    """OpenAI's `TranscriptTextUsageTokens`."""
    return {
        "type": "tokens",
        "input_tokens": usage.prompt_tokens,
        "input_token_details": {
            "audio_tokens": heard.audio_tokens,
            "text_tokens": usage.prompt_tokens - heard.audio_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def logprob_objects(tokens: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
    """The log probabilities of a text's tokens, as transcripts write them."""
    return [{"token": token.token, "logprob": token.logprob, "bytes": list(token.utf8)} for token in tokens]


class TranscriptCollector:
    """Collects the pieces of a recording."""

    def __init__(self, request: SpeechRequest, pieces: int) -> None:
        self._request = request
        self._texts: list[list[str]] = [[] for _ in range(pieces)]
        self._logprobs: list[list[TokenLogprob]] = [[] for _ in range(pieces)]

    def add(self, deltas: Iterable[Delta]) -> None:
        """Add one step; a delta's index is its piece."""
        for delta in deltas:
            self._texts[delta.index].append(delta.text)
            self._logprobs[delta.index] += delta.logprobs or ()

    def body(self, usage: Usage) -> bytes:
        """The response in the request's format."""
        request, heard = self._request, self._request.speech.heard
        assert heard is not None
        pieces: list[Part] = [
            ("".join(texts), tuple(logprobs)) for texts, logprobs in zip(self._texts, self._logprobs, strict=True)
        ]
        text = _joined(pieces, spaces_words=heard.spaces_words)
        if request.response_format == "text":
            return f"{text}\n".encode()
        if request.response_format == "srt":
            return srt(segments_of(heard, pieces)).encode()
        if request.response_format == "vtt":
            return vtt(segments_of(heard, pieces)).encode()
        if request.response_format == "verbose_json":
            return orjson.dumps(self._verbose(text, heard, segments_of(heard, pieces)))
        whole: dict[str, Any] = {"text": text}
        if request.wants_logprobs:
            whole["logprobs"] = logprob_objects(token for _, logprobs in pieces for token in logprobs)
        return orjson.dumps(whole | {"usage": usage_in_tokens(usage, heard)})

    def _verbose(self, text: str, heard: Heard, segments: list[Segment]) -> dict[str, Any]:
        task = self._request.task
        return {
            "task": task,
            "language": TRANSLATED if task == "translate" else heard.language.lower(),
            "duration": round(heard.duration_s, 3),
            "text": text,
            "segments": [
                _segment_object(number, segment, self._request.temperature) for number, segment in enumerate(segments)
            ],
            "usage": {"type": "duration", "seconds": math.ceil(heard.duration_s)},
        }


def _joined(pieces: list[Part], *, spaces_words: bool) -> str:
    ordered = OrderedText(len(pieces), spaces_words=spaces_words)
    for number, (text, _) in enumerate(pieces):
        list(ordered.add(Delta(number, text, 0, "stop")))
    return ordered.text.strip()


def _segment_object(number: int, segment: Segment, temperature: float) -> dict[str, Any]:
    text = segment.text.encode()
    return {
        "id": number,
        "seek": round(segment.start_s * 100),
        "start": segment.start_s,
        "end": segment.end_s,
        "text": segment.text,
        # Tokens' ids do not leave the engine, and it does not compute the probability of silence.
        "tokens": [],
        "no_speech_prob": 0.0,
        "temperature": temperature,
        "avg_logprob": segment.avg_logprob,
        "compression_ratio": round(len(text) / len(zlib.compress(text)), 4) if text else 0.0,
    }
