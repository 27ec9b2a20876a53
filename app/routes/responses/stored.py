"""Responses that were created earlier: get, stream again, cancel, delete, list their input."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Any

import orjson
from quart import Blueprint, Response, request

from app.generation.api import GenerationApi
from app.generation.kept_stream import cancelled
from app.generation.replay.elsewhere import ID_DIGITS, whereabouts_of
from app.observability.record import record_of
from app.routes.responses.paging import page_response
from app.routes.shared.http import json_response
from app.routes.shared.sse import events_response, stream_response
from app.services import Services
from app.stores.responses.base import SHARED, Entry
from app.stores.responses.history import (
    CONVERSATION_PREFIX,
    UNFINISHED,
    response_not_found,
    response_of,
    text_lengths_of,
)
from protocol.errors import Fault, TwowireError

INTERRUPTED = {"code": "server_error", "message": "The server stopped before the response was finished."}


def stored_response_routes(services: Services) -> Blueprint:
    """The routes below the path of each API whose responses are kept."""
    routes = Blueprint("responses", __name__)
    services.relay.operations["cancel_response"] = partial(_cancelled_for_another, services)
    services.relay.operations["discard_response"] = partial(_discard, services)
    for api in services.apis:
        if api.keeping is not None:
            path = f"{api.path}/<response_id>"
            routes.add_url_rule(path, "retrieve", partial(retrieve, services, api))
            routes.add_url_rule(path, "delete", partial(delete, services, api), methods=["DELETE"])
            routes.add_url_rule(f"{path}/cancel", "cancel", partial(cancel, services, api), methods=["POST"])
            routes.add_url_rule(f"{path}/input_items", "input_items", partial(input_items, services))
    return routes


async def retrieve(services: Services, api: GenerationApi[Any], response_id: str) -> Response:
    """Get a response as it is now, or with `stream=true` its events."""
    if request.args.get("stream", "false") not in ("false", "0", ""):
        return await _stream(services, api, response_id)
    entry = await _entry(services, response_id)
    return json_response(orjson.dumps(await _current(services, entry)))


async def _entry(services: Services, response_id: str) -> Entry:
    entry = await services.responses.get(record_of(request.scope).owner or "", response_id)
    if entry is None or response_id.startswith(CONVERSATION_PREFIX):
        raise response_not_found(response_id)
    return entry


async def _current(services: Services, entry: Entry) -> dict[str, Any]:
    """The response object. It has failed if the server died while generating it."""
    response = response_of(entry)
    settings = services.settings
    is_alone = settings.listening.api_server_count == 1 and settings.responses.store != SHARED
    if response.get("status") in UNFINISHED and is_alone:
        buffer = services.replays.find(entry.id, entry.owner or None)
        if buffer is None or buffer.is_finished:
            # It may have been finished since it was read.
            entry = await services.responses.get(entry.owner, entry.id) or entry
            response = response_of(entry)
            if response.get("status") in UNFINISHED:
                response |= {"status": "failed", "error": INTERRUPTED}
    return response


async def _stream(services: Services, api: GenerationApi[Any], response_id: str) -> Response:
    """The events of a response after number `starting_after`: as they come, from their buffer, or made again."""
    starting_after = _starting_after()
    record = record_of(request.scope)
    buffer = services.replays.find(response_id, record.owner)
    if buffer is not None and buffer.is_finished and starting_after + 1 < buffer.first_seq:
        return await _stream_again(services, api, await _entry(services, response_id), starting_after)
    try:
        # Other readers go on, and a slow client does not hold up the generation.
        reader = await services.replays.watch(response_id, record.owner, starting_after)
    except TwowireError as error:
        if buffer is not None or error.fault not in (Fault.COMPLETION_NOT_FOUND, Fault.CHUNKS_GONE):
            raise
        return await _stream_again(services, api, await _entry(services, response_id), starting_after)
    record.wire, record.is_work = "sse", True
    await record.adopt(None, reader.leave)
    record.hand_over(reader)
    return stream_response(reader, api)


async def _stream_again(services: Services, api: GenerationApi[Any], entry: Entry, starting_after: int) -> Response:
    """The events of a response that has ended, made again."""
    response = await _current(services, entry)
    if response.get("status") in UNFINISHED:
        message = "It runs on another server, and its events are there. Get it without stream."
        raise TwowireError(Fault.CHUNKS_GONE, message, param="stream")
    assert api.keeping is not None
    events = api.keeping.events_again(response, text_lengths_of(entry))
    return events_response(islice(events, starting_after, None), api)


def _starting_after() -> int:
    """How many events the client has; their numbers begin with 0."""
    text = request.args.get("starting_after")
    if text is None:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        message = "starting_after must be the sequence_number of an event."
        raise TwowireError(Fault.INVALID_VALUE, message, param="starting_after")
    return int(text) + 1


async def cancel(services: Services, api: GenerationApi[Any], response_id: str) -> Response:
    """End a running response; one that has ended is left unchanged. Returns the response."""
    if (response := await _cancelled(services, response_id)) is not None:
        return json_response(response)
    return json_response(orjson.dumps(await _current(services, await _entry(services, response_id))))


async def _cancelled(services: Services, response_id: str) -> bytes | None:
    """Cancel a running response and return its new state, or None if it does not run."""
    owner = record_of(request.scope).owner
    if (response := await _cancelled_here(services, response_id, owner)) is not None:
        return response.encode()
    elsewhere: str | None = await services.replays.ask("cancel_response", response_id, owner)
    if elsewhere is None:
        await _check_reached(services, response_id, owner)
    return elsewhere.encode() if elsewhere else None


async def _cancelled_for_another(services: Services, response_id: str, owner: str | None) -> str:
    """As `_cancelled_here`, but empty if it does not run: None stands for a server that cannot be asked."""
    return await _cancelled_here(services, response_id, owner) or ""


async def _check_reached(services: Services, response_id: str, owner: str | None) -> None:
    """Raise `TwowireError` if the response may run on another server, which could not be asked."""
    here, place = whereabouts_of(f"{services.manager.id_prefix:0<{ID_DIGITS}}"), whereabouts_of(response_id)
    if here is None or place is None or place == here:
        return
    if place.server != here.server and services.settings.responses.store != SHARED:
        return  # It ran before this server was started again.
    entry = await services.responses.get(owner or "", response_id)
    if entry is not None and response_of(entry).get("status") in UNFINISHED:
        message = "The response runs on another server, which cannot be asked at the moment."
        raise TwowireError(Fault.ENGINE_DIED, message, retry_after_s=5)


async def _cancelled_here(services: Services, response_id: str, owner: str | None) -> str | None:
    stream = services.generation.kept.get(response_id)
    if stream is None or stream.generation.owner != owner or stream.generation.outcome is not None:
        return None
    await stream.cancel()
    buffer = services.replays.find(response_id, owner)
    if buffer is not None:
        await buffer.wait_finished()
        return stream.response.decode()
    # Its reader gets the end, which stores it.
    return cancelled(stream.response).decode()


async def delete(services: Services, api: GenerationApi[Any], response_id: str) -> Response:
    """Delete a response, cancelling it if it runs."""
    owner = record_of(request.scope).owner
    if response_id.startswith(CONVERSATION_PREFIX):
        raise response_not_found(response_id)
    was_running = await _cancelled(services, response_id) is not None
    if not await _discard(services, response_id, owner):
        await services.replays.ask("discard_response", response_id, owner)
    if not (await services.responses.delete(owner or "", response_id) or was_running):
        raise response_not_found(response_id)
    return json_response(orjson.dumps({"id": response_id, "object": "response", "deleted": True}))


async def _discard(services: Services, response_id: str, owner: str | None) -> bool:
    buffer = services.replays.find(response_id, owner)
    if buffer is not None:
        await services.replays.discard(buffer)
    return buffer is not None


async def input_items(services: Services, response_id: str) -> Response:
    """List the items of a response's own input."""
    return page_response((await _entry(services, response_id)).items)
