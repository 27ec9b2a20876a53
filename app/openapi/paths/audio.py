"""Describes the routes that write down recordings."""

from __future__ import annotations

from typing import Any

from app.generation.api import GenerationApi
from app.generation.audio import AUDIO_APIS
from app.openapi.route import REQUEST_TIMEOUT_PARAMETER, Route
from protocol.audio.schemas import Transcript, TranscriptDelta, TranscriptDone, VerboseTranscript
from protocol.schemas import ErrorResponse

_FILE = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {
            "type": "string",
            "contentMediaType": "application/octet-stream",
            "description": "The recording: flac, m4a, mp3, mp4, ogg, opus, wav, webm and others.",
        }
    },
}


def _route(api: GenerationApi[Any]) -> Route:
    about = api.description
    subtitles = {"schema": {"type": "string"}}
    return Route(
        path=api.path,
        method="post",
        name=about.operation_id,
        tag="Audio",
        summary=about.summary,
        description=f"{about.description} Only if the server's model is one for speech.",
        generates=True,
        is_metered=api.is_metered,
        parameters=(REQUEST_TIMEOUT_PARAMETER,),
        body={
            "required": True,
            "description": "A form. Lists are fields that are repeated; their names may end with `[]`.",
            "content": {"multipart/form-data": {"schema": {"allOf": [_FILE, api.request]}}},
        },
        answers={
            200: {
                "description": "The text, in the form that `response_format` and `stream` ask for.",
                "content": {
                    "application/json": {"schema": {"anyOf": [Transcript, VerboseTranscript]}},
                    "text/plain": subtitles,
                    "text/vtt": subtitles,
                    "text/event-stream": {
                        "schema": {"type": "string", "description": about.stream},
                        "x-event-data": {
                            "oneOf": [TranscriptDelta, TranscriptDone, ErrorResponse, {"const": "[DONE]"}]
                        },
                    },
                },
            }
        },
    )


AUDIO_ROUTES = tuple(_route(api) for api in AUDIO_APIS)
