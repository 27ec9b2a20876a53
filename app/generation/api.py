"""What makes up a generating API. The APIs themselves are in `app.generation.table`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel

from app.generation.models import ModelType
from app.stores.responses.history import History
from protocol import sse
from protocol.encoder import Event, StreamEncoder
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
    """More fields for the streamed example's request."""
    error: type[BaseModel] = ErrorResponse
    """What `error_body` encodes."""


@dataclass(frozen=True, slots=True)
class Keeping(Generic[R]):
    """How an API's responses are continued and kept, for an API whose encoder is a `KeptEncoder`."""

    recall: Callable[[R, History], Awaitable[None]]
    """Add the earlier items that a request refers to. Raises `TwowireError` if one is missing."""
    input_items: Callable[[R], Sequence[dict[str, Any]]]
    """The request's own items, each with an id."""
    is_background: Callable[[R], bool]
    """Whether the response is to be generated without a reader."""
    events_again: Callable[[dict[str, Any], Sequence[Sequence[int]]], Iterator[Event]]
    """The events of a response that has ended, from its object and the `text_lengths` of its `KeptEncoder`."""


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
    model_type: ModelType = "chat"
    """What a model must be for to answer it."""
    error_body: Callable[[TwowireError, str | None], bytes] = error_bytes
    """An error as JSON, for the body of a refusal; with the request's id if the form has a place for it.

    In a stream, the encoder makes the error's events.
    """
    end_of_stream: bytes = sse.DONE
    """The bytes after a stream's last event, with their framing."""
    keepalive: bytes = sse.KEEPALIVE
    """The frame that keeps a silent stream of server-sent events alive."""
    client_headers: tuple[str, ...] = ()
    """Headers that only this API's clients send. Outside all APIs' paths, they get errors in this API's form."""
    request_id_header: str | None = None
    """This API's name for `X-Request-Id`; its responses have both."""
    keeping: Keeping[R] | None = None
    """Its responses can be kept and continued: see `app.stores.responses.history`."""
    is_metered: bool = True
    """Its requests and tokens count toward the caller's rate limits."""
    is_resumable: bool = False
    """A stream may be kept for a client that loses its connection, and can be resumed over HTTP."""
    has_websocket: bool = False
    """A channel can be opened at `path`, and create frames on any channel may name this API."""

    has_lanes: bool = False
    """At `path`, WebSockets that do not ask for the channel use OpenAI's protocol with lanes."""

    def has_path(self, path: str) -> bool:
        """Whether it is the API's own path, or one below it."""
        return path == self.path or path.startswith(f"{self.path}/")

    def answer_id(self, generation_id: str) -> str:
        """The id that clients see."""
        return self.id_prefix + generation_id

    def generation_id(self, answer_id: str) -> str | None:
        """The engine's id of a response of this API; None if `answer_id` is no such response's."""
        return answer_id.removeprefix(self.id_prefix) if answer_id.startswith(self.id_prefix) else None


def api_of(
    apis: Iterable[GenerationApi[Any]], path: str, has_header: Callable[[str], bool]
) -> GenerationApi[Any] | None:
    """The API of a request: that of its path or the path above it, otherwise the one its headers show."""
    by_headers = None
    for api in apis:
        if api.has_path(path):
            return api
        if any(map(has_header, api.client_headers)):
            by_headers = api
    return by_headers
