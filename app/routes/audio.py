"""The routes that write down recordings."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from quart import Blueprint, Response, request

from app.generation.api import GenerationApi
from app.generation.audio import AUDIO_APIS
from app.limits.deadlines import REQUEST_TIMEOUT_HEADER, asked_timeout
from app.observability.record import RequestRecord, record_of
from app.routes.generation import HttpTransport
from app.routes.shared.sse import stream_response
from app.security.caller import Caller
from app.services import Services
from app.uploads.form import MAX_FIELD_BYTES, Form, read_form, too_large
from engine.speech.decoder import HOW_TO_INSTALL, LIBRARY, is_available
from protocol.audio.form import object_of_form
from protocol.audio.request import SpeechRequest
from protocol.audio.response import CONTENT_TYPES
from protocol.errors import Fault, TwowireError
from protocol.validation.parse import request_from_object

BLUEPRINT = "audio"
FILE = "file"
"""The form's part with the recording."""
RETRY_AFTER_S = 2


def audio_routes(services: Services) -> Blueprint:
    """`POST /v1/audio/transcriptions` and `POST /v1/audio/translations`."""
    routes = Blueprint(BLUEPRINT, __name__)
    most = services.settings.speech.max_requests
    # As with the embedder's queue, one of several keys may have half.
    has_several_keys = len(services.settings.access.keys()) > 1
    places = _Places(most, max(1, most // 2) if has_several_keys else most)
    for api in AUDIO_APIS:
        routes.add_url_rule(api.path, api.name, partial(_respond, services, api, places), methods=["POST"])
    return routes


class _Places:
    """Limits how many requests with recordings there are at a time."""

    def __init__(self, most: int, most_of_client: int) -> None:
        self._most = most
        self._most_of_client = most_of_client
        self._held: set[RequestRecord] = set()

    async def take(self, record: RequestRecord) -> None:
        """Hold a place until the request is over. Raises `TwowireError` (503)."""
        if len(self._held) >= self._most:
            message = f"{self._most} requests with recordings are in progress; try again later."
            raise TwowireError(Fault.QUEUE_FULL, message, retry_after_s=RETRY_AFTER_S)
        if sum(held.client == record.client for held in self._held) >= self._most_of_client:
            message = f"{self._most_of_client} of your requests with recordings are in progress; try again later."
            raise TwowireError(Fault.QUEUE_FULL, message, retry_after_s=RETRY_AFTER_S)
        self._held.add(record)

        async def leave() -> None:
            self._held.discard(record)

        await record.adopt(None, leave)


async def _respond(services: Services, api: GenerationApi[Any], places: _Places) -> Response:
    timeout_s = asked_timeout(request.headers.getlist(REQUEST_TIMEOUT_HEADER))
    record = record_of(request.scope)
    await places.take(record)
    form = await _form(services, record)
    if not is_available():
        message = f"This server cannot decode recordings: {LIBRARY} is missing; {HOW_TO_INSTALL}."
        raise TwowireError(Fault.NOT_IMPLEMENTED, message)
    asked: SpeechRequest = request_from_object(api.request, object_of_form(form.fields))
    if not form.file or not form.file_bytes:
        fault = Fault.INVALID_VALUE if form.file else Fault.MISSING_FIELD
        raise TwowireError(fault, f"{FILE} {'is empty' if form.file else 'is required'}.", param=FILE)
    asked.attach(form.file)
    record.figures["audio_bytes"] = form.file_bytes
    transport = HttpTransport(record, "sse" if asked.stream else "http")
    caller = Caller.of(record.owner, record.client)
    if asked.stream:
        stream = await services.generation.start(api, asked, caller, transport, timeout_s=timeout_s)
        _note_heard(record, asked)
        return stream_response(stream, api)
    body = await services.generation.collect(api, asked, caller, transport, timeout_s=timeout_s)
    _note_heard(record, asked)
    return Response(body, content_type=CONTENT_TYPES[asked.response_format])


def _note_heard(record: RequestRecord, asked: SpeechRequest) -> None:
    if asked.speech.heard is not None:
        record.figures["audio_s"] = round(asked.speech.heard.duration_s, 2)


async def _form(services: Services, record: RequestRecord) -> Form:
    """The request's form, which the record closes. Raises `TwowireError` (400, 408, 413, 415)."""
    if request.mimetype != "multipart/form-data":
        message = f"The body must be a form: send «Content-Type: multipart/form-data», with the recording as {FILE}."
        raise TwowireError(Fault.UNSUPPORTED_MEDIA_TYPE, message)
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        message = f"The body must not be compressed (Content-Encoding {encoding[:60]!r})."
        raise TwowireError(Fault.UNSUPPORTED_MEDIA_TYPE, message)
    most, body_timeout_s = services.settings.speech.max_file_bytes, services.settings.requests.body_timeout_s
    if (request.content_length or 0) > most + 2 * MAX_FIELD_BYTES:
        raise too_large(FILE, most)
    try:
        async with asyncio.timeout(body_timeout_s):
            form = await read_form(request.body, request.mimetype_params.get("boundary"), FILE, most)
    except TimeoutError as error:
        message = f"The body did not arrive within {body_timeout_s:g} s."
        raise TwowireError(Fault.REQUEST_TIMEOUT, message) from error

    async def close() -> None:
        form.close()

    await record.adopt(None, close)
    return form
