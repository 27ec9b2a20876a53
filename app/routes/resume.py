"""Resume and cancel over HTTP, also for streams that began on the channel."""

from __future__ import annotations

from functools import partial
from typing import Any

import orjson
from quart import Blueprint, Response, request

from app.generation.api import GenerationApi
from app.generation.replay.reader import ReplayReader
from app.generation.replay.store import not_found
from app.observability.record import record_of
from app.routes.shared.answer import Answer
from app.routes.shared.asked import Asked
from app.routes.shared.http import json_response
from app.routes.shared.sse import stream_response
from app.services import Services
from protocol.errors import Fault, TwowireError

RESUME_GRACE_HEADER = "Twowire-Resume-Grace"
RESUME_TOKEN_HEADER = "Twowire-Resume-Token"
FOLLOW_TOKEN_HEADER = "Twowire-Follow-Token"
COMPLETION_ID_HEADER = "Twowire-Completion-Id"
MAX_GRACE_S = 86_400
"""The largest grace that a request may ask for. The response's header of the same name says what is granted."""


def resumable_routes(services: Services) -> Blueprint:
    """`GET …/{id}/stream` and `DELETE …/{id}` below the path of each API whose streams can be resumed."""
    routes = Blueprint("resumable", __name__)
    services.relay.operations["cancel"] = partial(_cancel, services)
    for api in services.apis:
        # Stored responses can be streamed again: `app.routes.responses.stored`.
        if api.is_resumable and api.keeping is None:
            path = f"{api.path}/<answer_id>"
            routes.add_url_rule(f"{path}/stream", f"resume_{api.name}", partial(resume, services, api))
            routes.add_url_rule(path, f"cancel_{api.name}", partial(cancel, services, api), methods=["DELETE"])
    return routes


async def resume(services: Services, api: GenerationApi[Any], answer_id: str) -> Response:
    """Resume or follow a stream after `starting_after` or the header `Last-Event-ID`."""
    record = record_of(request.scope)
    record.wire, record.is_work = "sse", True
    token, follow_token = (request.headers.get(name) for name in (RESUME_TOKEN_HEADER, FOLLOW_TOKEN_HEADER))
    if token is None and follow_token is not None:
        reader: ReplayReader = await services.replays.follow(answer_id, follow_token, _cursor())
    else:
        reader = await services.replays.resume(answer_id, record.owner, token or "", _cursor())
    await record.adopt(None, reader.leave)
    record.hand_over(reader)
    return stream_response(reader, api, numbered=True)


async def cancel(services: Services, api: GenerationApi[Any], answer_id: str) -> Response:
    """Cancel a running generation; OpenAI's SDK calls it `chat.completions.delete`."""
    owner = record_of(request.scope).owner
    is_cancelled = api.generation_id(answer_id) is not None and (
        await _cancel(services, answer_id, owner) or await services.replays.ask("cancel", answer_id, owner)
    )
    if not is_cancelled:
        raise not_found()
    return json_response(orjson.dumps({"object": "chat.completion.deleted", "id": answer_id, "deleted": True}))


async def _cancel(services: Services, answer_id: str, owner: str | None) -> bool:
    """Cancel a generation that runs here, or discard its buffer; False if there is neither."""
    ids = (api.generation_id(answer_id) for api in services.apis)
    generation_id = next((found for found in ids if found is not None), None)
    generation = services.manager.find(generation_id, owner) if generation_id is not None else None
    kept = services.replays.find(answer_id, owner)
    if generation is not None:
        await generation.cancel()
    elif kept is not None:
        await services.replays.discard(kept)
    return generation is not None or kept is not None


def _cursor() -> int:
    """The number of the last chunk that the client has; 0 if it has none."""
    text = request.args.get("starting_after") or request.headers.get("Last-Event-ID") or "0"
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise TwowireError(
            Fault.INVALID_VALUE, "starting_after must be the number of a chunk: decimal digits.", param="starting_after"
        )
    return int(text)


def asked_grace(asked: Asked, api: GenerationApi[Any], *, is_streamed: bool) -> float | None:
    """How many seconds the client wants its generation to outlive the connection, if it asks for that."""
    text = asked.headers.get(RESUME_GRACE_HEADER)
    if text is None:
        return None
    try:
        grace_s = float(text)
    except ValueError:
        grace_s = 0.0
    if not 0 < grace_s <= MAX_GRACE_S:
        raise TwowireError(
            Fault.INVALID_VALUE, f"{RESUME_GRACE_HEADER} must be seconds, above 0 and up to {MAX_GRACE_S}."
        )
    if not (is_streamed and api.is_resumable):
        raise TwowireError(
            Fault.INVALID_VALUE, f"{RESUME_GRACE_HEADER} is only for chats and responses with stream: true."
        )
    return grace_s


def add_resume_headers(response: Answer, reader: ReplayReader) -> Answer:
    """Add what the client needs to resume. The id, too: it may be cut off before the first chunk, which has it."""
    response.headers[COMPLETION_ID_HEADER] = reader.id
    response.headers[RESUME_TOKEN_HEADER] = reader.buffer.token
    response.headers[FOLLOW_TOKEN_HEADER] = reader.buffer.follow_token
    response.headers[RESUME_GRACE_HEADER] = f"{reader.buffer.grace_s:g}"
    return response
