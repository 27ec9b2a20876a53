"""Describes how WebSockets are opened, and the HTTP routes that resume and cancel.

OpenAPI has no means to describe the channel's frames; they are specified in `docs/websocket.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.generation.api import GenerationApi
from app.openapi.route import Route, json_answer, path_parameter
from app.openapi.schemas import DeletedChatCompletion, Ticket
from protocol.errors import Fault

_ID = path_parameter("id", "The `id` of the chat's chunks.")

_TICKETS = Route(
    path="/v1/ws/tickets",
    method="post",
    name="createTicket",
    tag="Channel",
    summary="Get a ticket for a WebSocket",
    description="For browsers, which cannot send a key in a WebSocket handshake.",
    answers={200: json_answer("The ticket.", Ticket)},
)


_LANES = (
    "Without a subprotocol, or with `openai.responses`, upgrades to OpenAI's WebSocket protocol: `response.create` in, "
    "the events of the stream out, in lanes; docs/reference/responses.md says how far. "
)


def channel_routes(apis: Sequence[GenerationApi[Any]]) -> tuple[Route, ...]:
    """The WebSocket of each API that offers one, the tickets, and the routes that resume and cancel."""
    resumable = [api for api in apis if api.is_resumable and api.keeping is None]
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
        description=(_LANES if api.has_lanes else "")
        + "Upgrades to a WebSocket with the subprotocol `twowire.v1`. One connection carries many chats, "
        "each in the chunks that `POST` would stream, and can cancel and resume them. docs/websocket.md specifies the "
        "messages. A plain `GET` is answered with 405.",
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
        summary="Resume a chat",
        description="Streams server-sent events like `POST`, each with an `id:` line, from the chunk after "
        "`starting_after` on. A reader on another connection is told that this one took over.",
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
                "description": "The number of the last chunk received; 0 for all. `Last-Event-ID` works, too.",
                "schema": {"type": "integer", "minimum": 0, "default": 0},
            },
            {
                "name": "Twowire-Resume-Token",
                "in": "header",
                "description": "From the response header of that name, or from `chat.completion.created`. To resume.",
                "schema": {"type": "string"},
            },
            {
                "name": "Twowire-Follow-Token",
                "in": "header",
                "description": "In its place: from the response header of that name, or from "
                "`chat.completion.created`. To read beside the reader, with any key.",
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
        summary="Cancel a chat",
        description="Ends the generation, on whichever wire it runs; its reader still gets what was generated so far. "
        "A finished resumable chat is deleted. Needs the key that created it.",
        answers={200: json_answer("The chat is cancelled.", DeletedChatCompletion)},
        faults=(Fault.COMPLETION_NOT_FOUND,),
        parameters=(_ID,),
    )
