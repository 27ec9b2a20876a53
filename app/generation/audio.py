"""The APIs that write down recordings. Their requests are forms, so they are not in the table of `app.generation`."""

from __future__ import annotations

from typing import Any

from app.generation.api import ApiDescription, GenerationApi
from protocol.audio.events import TranscriptEvents
from protocol.audio.request import SpeechRequest, TranscriptionRequest, TranslationRequest
from protocol.audio.response import TranscriptCollector
from protocol.audio.schemas import Transcript, TranscriptDelta

_STREAM = """\
With `stream: true`, for the formats `json` and `text`. Server-sent events, each a line `data: …` and an empty line:

- Each event's data is a `TranscriptDelta` with the text that was added; the last one's is a `TranscriptDone` with the
  whole text and the usage.
- Lines that begin with `:` are comments. They keep silent connections alive.
- If it fails midway, an event with an `ErrorResponse` replaces the remaining ones.
- At the very end comes `data: [DONE]`."""


def _api(name: str, request: type[SpeechRequest], operation_id: str, summary: str, text: str) -> GenerationApi[Any]:
    return GenerationApi(
        name=name,
        path=f"/v1/audio/{name}",
        request=request,
        generation_request=request.generation_request,
        id_prefix="transcript-",
        encoder=lambda request, answer_id, created: TranscriptEvents(request),
        collector=lambda request, answer_id, created, pieces: TranscriptCollector(request, pieces),
        model_type="transcription",
        description=ApiDescription(
            operation_id=operation_id,
            summary=summary,
            description=text,
            response=Transcript,
            chunk=TranscriptDelta,
            stream=_STREAM,
        ),
    )


_LONG = (
    " A long recording is cut where it is quiet, into pieces of up to half a minute that the model hears side by side."
)
TRANSCRIPTIONS = _api(
    "transcriptions",
    TranscriptionRequest,
    "createTranscription",
    "Write down a recording",
    "Writes down what is said, in the language in which it is said." + _LONG,
)
TRANSLATIONS = _api(
    "translations",
    TranslationRequest,
    "createTranslation",
    "Translate a recording",
    "Writes down in English what is said in any language." + _LONG,
)
AUDIO_APIS = (TRANSCRIPTIONS, TRANSLATIONS)
