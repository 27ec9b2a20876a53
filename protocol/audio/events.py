"""The events of a streamed transcript. https://platform.openai.com/docs/api-reference/audio/transcript-text-delta-event"""

from __future__ import annotations

from typing import Any

import orjson

from protocol.audio.request import SpeechRequest
from protocol.audio.response import logprob_objects, usage_in_tokens
from protocol.audio.text import OrderedText, without_tags
from protocol.encoder import Event, FillingEncoder
from protocol.errors import TwowireError, error_bytes
from protocol.output import Delta, TokenLogprob, Usage

_HEAD, _TAIL = b'{"type":"transcript.text.delta","delta":', b"}"


class TranscriptEvents(FillingEncoder):
    """Encodes `transcript.text.delta` and `transcript.text.done`. The text of all deltas is that of the last event."""

    def __init__(self, request: SpeechRequest) -> None:
        self._request = request
        self._text = OrderedText(1)
        self._logprobs: list[TokenLogprob] = []
        self.text_template: tuple[bytes, bytes] | None = None

    def opening(self, choices: int, usage: Usage) -> list[Event]:
        heard = self._request.speech.heard
        self._text = OrderedText(choices, spaces_words=heard is None or heard.spaces_words)
        return []

    def encode(self, delta: Delta) -> list[Event]:
        """The events of what can be shown now; none for a piece whose turn has not come."""
        events = [self._event(text, logprobs) for text, logprobs in self._text.add(delta)]
        if self.text_template is None and self._text.is_plain and not self._request.wants_logprobs:
            self.text_template = (_HEAD, _TAIL)
        return events

    def _event(self, text: str, logprobs: tuple[TokenLogprob, ...]) -> Event:
        if not self._request.wants_logprobs:
            return _HEAD + orjson.dumps(text) + _TAIL
        self._logprobs += logprobs
        return _HEAD + orjson.dumps(text) + b',"logprobs":' + orjson.dumps(logprob_objects(logprobs)) + _TAIL

    def fill(self, text: str) -> bytes:
        return orjson.dumps(without_tags(text))

    def sent(self, text: str) -> None:
        self._text.append(without_tags(text))

    def closing(self, usage: Usage) -> list[Event]:
        done: dict[str, Any] = {"type": "transcript.text.done", "text": self._text.text}
        if self._request.wants_logprobs:
            done["logprobs"] = logprob_objects(self._logprobs)
        heard = self._request.speech.heard
        if heard is not None:
            done["usage"] = usage_in_tokens(usage, heard)
        return [orjson.dumps(done)]

    def error(self, error: TwowireError) -> list[Event]:
        """OpenAI's error object, as in the body of a refusal."""
        return [error_bytes(error)]
