"""The table of the generating APIs, one row each.

The routes, the WebSockets, the OpenAPI document and the rate limits all read it. To add an API, add its folder in
`protocol` and a row here; CONTRIBUTING.md has an example.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from app.generation.api import ApiDescription, Collector, GenerationApi, Keeping
from app.generation.recall import own_items, recall
from protocol.chat.chunks import ChatChunks
from protocol.chat.request import ChatCompletionRequest
from protocol.chat.response import ChatCollector
from protocol.chat.schemas import ChatCompletion, ChatCompletionChunk
from protocol.completions.chunks import CompletionChunks
from protocol.completions.request import CompletionRequest
from protocol.completions.response import CompletionCollector
from protocol.completions.schemas import Completion
from protocol.encoder import StreamEncoder
from protocol.messages.errors import error_body as messages_error_body
from protocol.messages.events import PING, MessageEvents
from protocol.messages.request import MessagesRequest
from protocol.messages.response import MessageCollector, MessageHead
from protocol.messages.schemas import MessageResponse, MessagesErrorResponse, MessageStreamEvent
from protocol.responses.again import events_again
from protocol.responses.answer import ResponseCollector
from protocol.responses.events import ResponseEvents
from protocol.responses.objects import ID_PREFIX
from protocol.responses.request import HostedTools, ResponseRequest
from protocol.responses.schemas import ResponseEvent, ResponseObject


def _encoder(
    chunks: Callable[..., StreamEncoder],
    request: ChatCompletionRequest | CompletionRequest,
    answer_id: str,
    created: int,
) -> StreamEncoder:
    return chunks(
        answer_id=answer_id,
        model=request.model,
        created=created,
        include_usage=request.include_usage,
        obfuscate=request.include_obfuscation,
    )


def _collector(
    answer: Callable[..., Collector],
    request: ChatCompletionRequest | CompletionRequest,
    answer_id: str,
    created: int,
    choices: int,
) -> Collector:
    return answer(answer_id=answer_id, model=request.model, created=created, choices=choices)


_STREAM = """\
With `stream: true`. Server-sent events, each a line `data: …` and an empty line:

- Each event's data is a `{chunk}` in JSON. The last chunk of a choice has its `finish_reason`, and nothing else.
- With `stream_options.include_usage`, one more chunk follows, with the usage and without choices.
- Lines that begin with `:` are comments. They keep silent connections alive.
- If generation fails midway, an event with an `ErrorResponse` replaces the remaining chunks.
- The last event is always `data: [DONE]`.
- With the header `Twowire-Resume-Grace` (chats only), each event has an `id:` line, and the response's header
  `Twowire-Resume-Token` lets the client resume the stream after it has lost its connection; with that of
  `Twowire-Follow-Token`, others can read it, too."""
_STREAM_OPTIONS = {"stream_options": {"include_usage": True}}
_REFUSALS = "Errors that are found before the first byte are answered with their status, streamed or not."
_QUESTION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why is the sky blue?"}]

CHAT = GenerationApi(
    name="chat_completions",
    path="/v1/chat/completions",
    request=ChatCompletionRequest,
    generation_request=ChatCompletionRequest.generation_request,
    id_prefix="chatcmpl-",
    encoder=lambda request, answer_id, created: _encoder(
        partial(ChatChunks, style=request.style), request, answer_id, created
    ),
    collector=lambda request, answer_id, created, choices: _collector(
        partial(ChatCollector, style=request.style), request, answer_id, created, choices
    ),
    is_resumable=True,
    has_websocket=True,
    description=ApiDescription(
        operation_id="createChatCompletion",
        channel_operation_id="openChannel",
        summary="Answer a chat",
        description="Writes the assistant's next message, whole or as a stream.\n\n" + _REFUSALS,
        response=ChatCompletion,
        chunk=ChatCompletionChunk,
        stream=_STREAM,
        stream_options=_STREAM_OPTIONS,
        examples={
            "Whole": {"messages": _QUESTION, "max_completion_tokens": 64},
            "Streamed": {"messages": _QUESTION, "stream": True, "stream_options": {"include_usage": True}},
            "JSON": {"messages": _QUESTION, "response_format": {"type": "json_object"}},
        },
    ),
)

COMPLETIONS = GenerationApi(
    name="completions",
    path="/v1/completions",
    request=CompletionRequest,
    generation_request=CompletionRequest.generation_request,
    id_prefix="cmpl-",
    encoder=partial(_encoder, CompletionChunks),
    collector=partial(_collector, CompletionCollector),
    description=ApiDescription(
        operation_id="createCompletion",
        summary="Continue a text",
        description="Continues each prompt, whole or as a stream. The model reads the prompt as it is; no chat "
        "template is applied.\n\n" + _REFUSALS,
        response=Completion,
        chunk=Completion,
        stream=_STREAM,
        stream_options=_STREAM_OPTIONS,
        examples={
            "Whole": {"prompt": "The sky is blue because", "max_tokens": 32, "temperature": 0},
            "Streamed": {"prompt": "The sky is blue because", "max_tokens": 32, "stream": True},
        },
    ),
)

_EVENTS = """\
With `stream: true`. Server-sent events, each with lines `event: …` and `data: …`, and an empty line:

- Each event's data is a `{chunk}` in JSON, whose `type` is the event's name.
- Each item of the output is added, filled and done before the next one. Ids are those of the final response.
- The last event has the whole response: `response.completed`, `response.incomplete` or `response.failed`.
- Then comes `data: [DONE]`. Lines that begin with `:` are comments. They keep silent connections alive.
- With the header `Twowire-Resume-Grace`, a client that has lost its connection can go on with
  `GET /v1/responses/{{response_id}}?stream=true&starting_after=…`."""

RESPONSES = GenerationApi(
    name="responses",
    path="/v1/responses",
    request=ResponseRequest,
    generation_request=ResponseRequest.generation_request,
    id_prefix=ID_PREFIX,
    encoder=ResponseEvents,
    collector=lambda request, answer_id, created, choices: ResponseCollector(request, answer_id, created),
    keeping=Keeping(recall, own_items, lambda request: request.background, events_again),
    is_resumable=True,
    has_websocket=True,
    has_lanes=True,
    description=ApiDescription(
        operation_id="createResponse",
        channel_operation_id="openResponses",
        summary="Create a response",
        description="Answers a text, or a list of items: messages, calls and their outputs, reasoning.\n\n" + _REFUSALS,
        response=ResponseObject,
        chunk=ResponseEvent,
        stream=_EVENTS,
        examples={
            "Whole": {"input": "Why is the sky blue?", "instructions": "Be brief.", "max_output_tokens": 64},
            "Streamed": {"input": "Why is the sky blue?", "stream": True},
        },
    ),
)

_MESSAGES_STREAM = """\
With `stream: true`. Server-sent events, each a line `event: …` with its type, a line `data: …`, and an empty line:

- `message_start`; for each content block `content_block_start`, its `content_block_delta`s and `content_block_stop`;
  `message_delta` with the reason for the end and the usage; `message_stop`. The data is a `{chunk}` in JSON.
- `ping` may come at any time. It keeps silent connections alive.
- If generation fails midway, the event `error` with a `MessagesErrorResponse` is the last.
- With the header `Twowire-Resume-Grace`, each event but `ping` has an `id:` line, and the response's header
  `Twowire-Resume-Token` lets the client resume the stream after it has lost its connection."""


def _message_head(request: MessagesRequest, answer_id: str) -> MessageHead:
    return MessageHead(answer_id, request.model, request.max_tokens, request.thinking_display)


MESSAGES = GenerationApi(
    name="messages",
    path="/v1/messages",
    request=MessagesRequest,
    generation_request=MessagesRequest.generation_request,
    id_prefix="msg_",
    encoder=lambda request, answer_id, created: MessageEvents(_message_head(request, answer_id)),
    collector=lambda request, answer_id, created, choices: MessageCollector(_message_head(request, answer_id)),
    error_body=messages_error_body,
    end_of_stream=b"",
    keepalive=PING,
    client_headers=("anthropic-version", "x-api-key"),
    request_id_header="request-id",
    is_resumable=True,
    has_websocket=True,
    description=ApiDescription(
        operation_id="createMessage",
        channel_operation_id="openMessagesChannel",
        summary="Answer a chat, in Anthropic's form",
        description="Writes the assistant's next message, whole or as a stream: Anthropic's Messages API. The headers "
        "`anthropic-version` and `anthropic-beta` are ignored.\n\n" + _REFUSALS,
        response=MessageResponse,
        chunk=MessageStreamEvent,
        stream=_MESSAGES_STREAM,
        error=MessagesErrorResponse,
        examples={
            "Whole": {"max_tokens": 64, "system": "Be brief.", "messages": [_QUESTION[-1]]},
            "Streamed": {"max_tokens": 64, "messages": [_QUESTION[-1]], "stream": True},
        },
    ),
)

APIS: tuple[GenerationApi[Any], ...] = (CHAT, COMPLETIONS, RESPONSES, MESSAGES)


def apis_with(hosted_tools: HostedTools) -> tuple[GenerationApi[Any], ...]:
    """The table of a server that refuses or omits hosted tools where a request does not say which."""
    read = partial(ResponseRequest.generation_request, hosted_tools=hosted_tools)
    return tuple(replace(api, generation_request=read) if api is RESPONSES else api for api in APIS)
