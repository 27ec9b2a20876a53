"""Describes the WebSockets, and the routes that resume and cancel. Frames are specified in `docs/websocket.md`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.generation.api import GenerationApi
from app.openapi.route import Route, path_parameter, strings
from protocol.errors import Fault

_ID = path_parameter("id", "The `id` of the answer's chunks.")

_TICKET = strings(
    object={"const": "ws.ticket"},
    ticket={"description": "Good for one connection, with the same key and from the same Origin."},
    subprotocol={"description": "What to offer beside `twowire.v1`, so that the ticket reaches the server."},
)
_TICKET["properties"]["expires_in"] = {"type": "integer", "description": "Seconds until it is worthless."}
_TICKET["required"].append("expires_in")

_TICKETS = Route(
    path="/v1/ws/tickets",
    method="post",
    name="createTicket",
    tag="Channel",
    summary="Get a ticket for a WebSocket",
    description="For browsers, which cannot send a key with a WebSocket's handshake.",
    answers={
        200: {"description": "The ticket.", "content": {"application/json": {"schema": _TICKET}}},
    },
)


def channel_routes(apis: Sequence[GenerationApi[Any]]) -> tuple[Route, ...]:
    """The WebSocket of each API that offers one, the tickets, and the routes that resume and cancel."""
    resumable = [api for api in apis if api.is_resumable]
    return (
        *(_websocket(api) for api in apis if api.has_websocket),
        _TICKETS,
        *(route for api in resumable for route in (_resume(api), _cancel(api))),
    )


def _operation_id(verb: str, api: GenerationApi[Any]) -> str:
    return verb + api.description.operation_id.removeprefix("create")


def _websocket(api: GenerationApi[Any]) -> Route:
    return Route(
        path=api.path,
        method="get",
        name=api.description.channel_operation_id,
        tag="Channel",
        summary="Open a WebSocket",
        description="An upgrade to WebSocket with the subprotocol `twowire.v1`: many chats side by side on one "
        "connection, each in the chunks that `POST` would stream, with cancel and resume. The messages are specified "
        "in docs/websocket.md. A plain `GET` is answered with 405.",
        answers={101: {"description": "The channel is open."}},
        faults=(
            Fault.UNSUPPORTED_WEBSOCKET_VERSION,
            Fault.INVALID_HANDSHAKE,
            Fault.FORBIDDEN_ORIGIN,
            Fault.UNKNOWN_SUBPROTOCOL,
            Fault.TOO_MANY_CONNECTIONS,
            Fault.METHOD_NOT_ALLOWED,
        ),
    )


def _resume(api: GenerationApi[Any]) -> Route:
    return Route(
        path=f"{api.path}/{{id}}/stream",
        method="get",
        name=_operation_id("resume", api),
        tag="Channel",
        summary="Read on in a resumable chat",
        description="Server-sent events as `POST` streams them, each with an `id:` line, from the chunk after "
        "`starting_after` on. Whoever read before is told that it was taken over.",
        answers={
            200: {
                "description": "The rest of the stream.",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            }
        },
        faults=(Fault.COMPLETION_NOT_FOUND, Fault.CHUNKS_GONE, Fault.INVALID_VALUE),
        parameters=(
            _ID,
            {
                "name": "starting_after",
                "in": "query",
                "description": "The number of the last chunk that was received; 0 for all. `Last-Event-ID` does, too.",
                "schema": {"type": "integer", "minimum": 0, "default": 0},
            },
            {
                "name": "Twowire-Resume-Token",
                "in": "header",
                "required": True,
                "description": "What the answer's header of that name, or `chat.completion.created`, gave.",
                "schema": {"type": "string"},
            },
        ),
    )


def _cancel(api: GenerationApi[Any]) -> Route:
    return Route(
        path=f"{api.path}/{{id}}",
        method="delete",
        name=_operation_id("cancel", api),
        tag="Channel",
        summary="Cancel a running chat",
        description="Ends the generation on whichever wire it runs; its reader still gets what was made until now. "
        "A finished resumable chat is forgotten. Only with the key that created it.",
        answers={
            200: {
                "description": "It is cancelled.",
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "properties": {
                                "object": {"const": "chat.completion.deleted"},
                                "id": {"type": "string"},
                                "deleted": {"const": True},
                            },
                            "required": ["object", "id", "deleted"],
                        }
                    }
                },
            }
        },
        faults=(Fault.COMPLETION_NOT_FOUND,),
        parameters=(_ID,),
    )
