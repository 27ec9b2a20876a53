"""The table of the APIs that generate: one row for each.

The routes, the WebSockets, the OpenAPI document and the rate limits all read it. To add an API, add its folder in
`protocol` and a row here; CONTRIBUTING.md has an example.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel

from app.stores.responses.history import History
from protocol import sse
from protocol.chat.chunks import ChatChunks
from protocol.chat.request import ChatCompletionRequest
from protocol.chat.response import ChatCollector
from protocol.chat.schemas import ChatCompletion, ChatCompletionChunk
from protocol.completions.chunks import CompletionChunks
from protocol.completions.request import CompletionRequest
from protocol.completions.response import CompletionCollector
from protocol.completions.schemas import Completion
from protocol.encoder import StreamEncoder
from protocol.errors import TwowireError, error_bytes
from protocol.generation import GenerationRequest
from protocol.output import Delta, Usage
from protocol.schemas import ErrorResponse
from protocol.validation.request import ApiRequest

R = TypeVar("R", bound=ApiRequest)


class Collector(Protocol):
    """Collects a generation's deltas into one body."""

    def add(self, deltas: Iterable[Delta]) -> None:
        """Add one step."""

    def body(self, usage: Usage) -> bytes:
        """The complete response, in JSON."""


@dataclass(frozen=True, slots=True)
class ApiDescription:
    """What the OpenAPI document says of an API, beside its models."""

    operation_id: str
    summary: str
    description: str
    response: type[BaseModel]
    chunk: type[BaseModel]
    examples: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Requests by name, without `model`; at least one."""
    channel_operation_id: str = ""
    """That of the WebSocket, for an API that has one."""
    stream: str = ""
    """How a stream looks, in Markdown; `{chunk}` stands for the name of `chunk`."""
    stream_options: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the streamed example's request."""
    error: type[BaseModel] = ErrorResponse
    """What `error_body` encodes."""


@dataclass(frozen=True, slots=True)
class Keeping(Generic[R]):
    """How an API's responses are continued and kept, for an API whose encoder is a `KeptEncoder`."""

    recall: Callable[[R, History], Awaitable[None]]
    """Complete a request with the earlier items that it refers to. Raises `TwowireError` for what is not there."""
    input_items: Callable[[R], Sequence[dict[str, Any]]]
    """The request's own items, each with an id."""
    is_background: Callable[[R], bool]
    """Whether the response is to be generated without a reader."""


@dataclass(frozen=True, slots=True)
class GenerationApi(Generic[R]):
    """One API: how its requests reach the engine, and how what the engine generates becomes its responses."""

    name: str
    path: str
    request: type[R]
    """What a body is parsed into."""
    generation_request: Callable[[R], GenerationRequest]
    """The request as the engine takes it. Raises `TwowireError` for what no engine can do."""
    id_prefix: str
    encoder: Callable[[R, str, int], StreamEncoder]
    """Makes the encoder of a stream from the request, the response's id, and the time in whole seconds (Unix)."""
    collector: Callable[[R, str, int, int], Collector]
    """Makes the collector of a whole body from the same, and the number of choices."""
    description: ApiDescription
    error_body: Callable[[TwowireError, str | None], bytes] = error_bytes
    """An error as JSON: the body of a refusal; with the request's id, where the form has a place for it.

    In a stream, the encoder has the events of an error.
    """
    end_of_stream: bytes = sse.DONE
    """The bytes after a stream's last event, with their framing."""
    keepalive: bytes = sse.KEEPALIVE
    """What a silent stream of server-sent events is kept alive with, framed."""
    client_headers: tuple[str, ...] = ()
    """Headers that only clients of this API send. Errors they get outside of all APIs' paths have this API's form."""
    request_id_header: str | None = None
    """This API's name for `X-Request-Id`, which its responses have too."""
    keeping: Keeping[R] | None = None
    """Its responses can be kept and continued: see `app.stores.responses.history`."""
    is_metered: bool = True
    """Its requests and tokens count toward the caller's rate limits."""
    is_resumable: bool = False
    """A stream may be kept for a client that loses its connection, and can be resumed over HTTP."""
    has_websocket: bool = False
    """A channel can be opened at `path`, beside the POST, and a create on any channel may name this API."""

    def answer_id(self, generation_id: str) -> str:
        """The id that clients see."""
        return self.id_prefix + generation_id

    def generation_id(self, answer_id: str) -> str | None:
        """The engine's id of a response of this API; None if `answer_id` is no such response's."""
        return answer_id.removeprefix(self.id_prefix) if answer_id.startswith(self.id_prefix) else None


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
  `Twowire-Resume-Token` lets the client resume the stream after it has lost its connection."""
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

APIS: tuple[GenerationApi[Any], ...] = (CHAT, COMPLETIONS)


def api_of(
    apis: Iterable[GenerationApi[Any]], path: str, has_header: Callable[[str], bool]
) -> GenerationApi[Any] | None:
    """The API that a request speaks: that of its path, or of the path above it, or else the one its headers show."""
    by_headers = None
    for api in apis:
        if path == api.path or path.startswith(f"{api.path}/"):
            return api
        if any(map(has_header, api.client_headers)):
            by_headers = api
    return by_headers
