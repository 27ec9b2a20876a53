"""Describes the routes of stored responses and of conversations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from app.generation.api import GenerationApi
from app.openapi.route import BODY_FAULTS, REQUEST_TIMEOUT_PARAMETER, Route, json_answer, json_body, path_parameter
from protocol.conversations.request import ConversationRequest, ConversationUpdate, ItemsRequest
from protocol.conversations.schemas import (
    Conversation,
    ConversationItem,
    DeletedConversation,
    DeletedResponse,
    ItemPage,
)
from protocol.errors import Fault
from protocol.responses.compaction import CompactedResponse, CompactRequest

_TAG = "Responses"
_RESPONSE = path_parameter("response_id", "The id of a response.")
_CONVERSATION = path_parameter("conversation_id", "The id of a conversation.")
_ITEM = path_parameter("item_id", "The id of an item.")


def _query(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


_PAGING = (
    _query("limit", "The most items.", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}),
    _query("order", "By age: the newest first, or the oldest.", {"enum": ["desc", "asc"], "default": "desc"}),
    _query("after", "The id of the item before the first one wanted.", {"type": "string"}),
)


def response_routes(model: str, apis: Sequence[GenerationApi[Any]]) -> tuple[Route, ...]:
    """The routes of stored responses, if an API keeps them, and of conversations. Examples use `model`."""
    stored = (route for api in apis if api.keeping is not None for route in _stored(api))
    return (*stored, _compact(model), *_CONVERSATIONS)


def _compact(model: str) -> Route:
    asked = {"model": model, "input": [_MESSAGE, {"role": "assistant", "content": "Blue light scatters most."}]}
    return Route(
        path="/v1/responses/compact",
        method="post",
        name="compactResponse",
        tag=_TAG,
        summary="Sum up a dialogue",
        description="The model writes a summary of the input and of what it continues. Send the `output` as the "
        "beginning of the next `input`, as it is. Fields are those of `POST /v1/responses`; a summary is not streamed "
        "or stored.",
        answers={200: json_answer("The dialogue in short.", CompactedResponse)},
        generates=True,
        is_metered=True,
        parameters=(REQUEST_TIMEOUT_PARAMETER,),
        body=json_body(CompactRequest, {"A dialogue": asked}),
    )


def _route(
    method: str,
    path: str,
    name: str,
    summary: str,
    description: str,
    answer: type[BaseModel],
    faults: tuple[Fault, ...],
    parameters: tuple[dict[str, Any], ...] = (),
    body: dict[str, Any] | None = None,
) -> Route:
    more = (Fault.STORE_FAILED, *(BODY_FAULTS if body is not None else ()))
    return Route(
        path=path,
        method=method,
        name=name,
        tag=_TAG,
        summary=summary,
        description=description,
        answers={200: json_answer("Done.", answer)},
        faults=tuple(dict.fromkeys((*faults, *more))),
        parameters=parameters,
        body=body,
    )


def _stored(api: GenerationApi[Any]) -> tuple[Route, ...]:
    path, response, gone = f"{api.path}/{{response_id}}", api.description.response, (Fault.RESPONSE_NOT_FOUND,)
    stream = _query("stream", "Send the events again, as server-sent events.", {"type": "boolean", "default": False})
    after = _query(
        "starting_after",
        "With `stream`: the `sequence_number` of the last event received.",
        {"type": "integer", "minimum": 0},
    )
    return (
        _route(
            "get",
            path,
            "getResponse",
            "Get a response",
            "With `stream=true`, its events: as they come while it runs in the background; after its end, made again.",
            response,
            (*gone, Fault.INVALID_VALUE, Fault.CHUNKS_GONE),
            (_RESPONSE, stream, after),
        ),
        _route(
            "delete",
            path,
            "deleteResponse",
            "Delete a response",
            "One that runs is cancelled. A response that continues it can be read, but no longer be continued.",
            DeletedResponse,
            gone,
            (_RESPONSE,),
        ),
        _route(
            "post",
            f"{path}/cancel",
            "cancelResponse",
            "Cancel a response",
            "Ends a response that runs. One that has ended stays as it is.",
            response,
            gone,
            (_RESPONSE,),
        ),
        _route(
            "get",
            f"{path}/input_items",
            "listInputItems",
            "List a response's input",
            "The items of the request itself, without those of earlier turns.",
            ItemPage,
            (*gone, Fault.INVALID_VALUE),
            (_RESPONSE, *_PAGING),
        ),
    )


_PATH = "/v1/conversations"
_ONE = f"{_PATH}/{{conversation_id}}"
_GONE = (Fault.CONVERSATION_NOT_FOUND,)
_MESSAGE = {"type": "message", "role": "user", "content": "Why is the sky blue?"}
_CONVERSATIONS = (
    _route(
        "post",
        _PATH,
        "createConversation",
        "Create a conversation",
        "A list of items that responses continue and are added to.",
        Conversation,
        (Fault.ITEM_NOT_FOUND,),
        body=json_body(ConversationRequest, {"With an item": {"items": [_MESSAGE]}}),
    ),
    _route(
        "get",
        _ONE,
        "getConversation",
        "Get a conversation",
        "Without its items.",
        Conversation,
        _GONE,
        (_CONVERSATION,),
    ),
    _route(
        "post",
        _ONE,
        "updateConversation",
        "Change a conversation",
        "Replaces its metadata.",
        Conversation,
        _GONE,
        (_CONVERSATION,),
        json_body(ConversationUpdate, {"Metadata": {"metadata": {"topic": "sky"}}}),
    ),
    _route(
        "delete",
        _ONE,
        "deleteConversation",
        "Delete a conversation",
        "With its items. Responses that were part of it stay.",
        DeletedConversation,
        _GONE,
        (_CONVERSATION,),
    ),
    _route(
        "get",
        f"{_ONE}/items",
        "listConversationItems",
        "List a conversation's items",
        "Those that were added, and those of its responses.",
        ItemPage,
        (*_GONE, Fault.INVALID_VALUE),
        (_CONVERSATION, *_PAGING),
    ),
    _route(
        "post",
        f"{_ONE}/items",
        "addConversationItems",
        "Add items to a conversation",
        "Up to 20, at its end.",
        ItemPage,
        (*_GONE, Fault.ITEM_NOT_FOUND),
        (_CONVERSATION,),
        json_body(ItemsRequest, {"An item": {"items": [_MESSAGE]}}),
    ),
    _route(
        "get",
        f"{_ONE}/items/{{item_id}}",
        "getConversationItem",
        "Get an item of a conversation",
        "The item as it is listed.",
        ConversationItem,
        (*_GONE, Fault.ITEM_NOT_FOUND),
        (_CONVERSATION, _ITEM),
    ),
    _route(
        "delete",
        f"{_ONE}/items/{{item_id}}",
        "deleteConversationItem",
        "Delete an item of a conversation",
        "Returns the conversation.",
        Conversation,
        (*_GONE, Fault.ITEM_NOT_FOUND),
        (_CONVERSATION, _ITEM),
    ),
)
