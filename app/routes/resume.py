"""The HTTP twin of the channel's cancel and resume: a chat that was begun on one wire can be ended on the other.

Does not know the channel.
"""

from __future__ import annotations

import orjson
from quart import Blueprint, Response, request

from app.generation.api import CHAT
from app.generation.replay_store import not_found
from app.observability.record import record_of
from app.routes.http import json_response
from app.routes.sse import stream_response
from app.services import Services
from protocol.errors import Fault, TwowireError

RESUME_GRACE_HEADER = "Twowire-Resume-Grace"
RESUME_TOKEN_HEADER = "Twowire-Resume-Token"
COMPLETION_ID_HEADER = "Twowire-Completion-Id"
MAX_GRACE_S = 86_400
"""What may be asked for. The answer's header of the same name says what is granted."""


def resumable_routes(services: Services) -> Blueprint:
    """`GET /v1/chat/completions/{id}/stream` and `DELETE /v1/chat/completions/{id}`."""
    routes = Blueprint("resumable", __name__)

    @routes.get("/v1/chat/completions/<answer_id>/stream")
    async def resume(answer_id: str) -> Response:
        """Read on in a resumable generation, after `starting_after` or the header `Last-Event-ID`."""
        record = record_of(request.scope)
        record.wire, record.is_work = "sse", True
        token = request.headers.get(RESUME_TOKEN_HEADER, "")
        reader = services.replays.resume(answer_id, record.owner, token, _cursor())
        await record.adopt(None, reader.leave)
        record.hand_over(reader)
        return stream_response(reader, with_ids=True)

    @routes.delete("/v1/chat/completions/<answer_id>")
    async def cancel(answer_id: str) -> Response:
        """Cancel a running generation; OpenAI's SDK calls it `chat.completions.delete`."""
        owner = record_of(request.scope).owner
        generation = None
        if answer_id.startswith(CHAT.id_prefix):
            generation = services.manager.find(answer_id.removeprefix(CHAT.id_prefix), owner)
        kept = services.replays.find(answer_id, owner)
        if generation is None and kept is None:
            raise not_found()
        if generation is not None:
            await generation.cancel()
        elif kept is not None:
            await services.replays.discard(kept)
        return json_response(orjson.dumps({"object": "chat.completion.deleted", "id": answer_id, "deleted": True}))

    return routes


def _cursor() -> int:
    """The number of the last chunk that the client has; 0 where it has none."""
    text = request.args.get("starting_after") or request.headers.get("Last-Event-ID") or "0"
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise TwowireError(
            Fault.INVALID_VALUE, "starting_after must be the number of a chunk: decimal digits.", param="starting_after"
        )
    return int(text)
