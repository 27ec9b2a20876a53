"""A request as a route reads it: Quart's, or one made straight from the ASGI scope."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from werkzeug.http import parse_options_header
from werkzeug.sansio.utils import get_content_length

from app.routes.shared.answer import JSON
from protocol.errors import Fault, TwowireError

Receive = Callable[[], Awaitable[Any]]


class Values(Protocol):
    """Headers by name, in any case."""

    def getlist(self, name: str, /) -> list[str]:
        """All of that name, in the order in which they came."""

    def get(self, name: str, /) -> str | None:
        """The first of that name."""

    def __contains__(self, name: object, /) -> bool: ...


class Asked(Protocol):
    """What a route reads of a request."""

    scope: Any

    @property
    def headers(self) -> Any:
        """As `Values`."""

    @property
    def mimetype(self) -> str: ...

    @property
    def mimetype_params(self) -> Mapping[str, str]: ...

    @property
    def content_length(self) -> int | None: ...

    async def get_data(self, cache: bool = ..., as_text: bool = ...) -> Any:
        """The whole body. Raises what its owner answers with 413 if it is too large."""


class ClientGone(Exception):
    """The client left before its request had arrived: there is nobody to answer."""


class HeaderValues:
    """The headers of an ASGI scope, whose names are in lower case. Implements `Values`."""

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self._values: defaultdict[str, list[str]] = defaultdict(list)
        for name, value in pairs:
            self._values[name.decode("latin-1")].append(value.decode("latin-1"))

    def getlist(self, name: str) -> list[str]:
        return self._values.get(name.lower(), [])

    def get(self, name: str) -> str | None:
        values = self._values.get(name.lower())
        return values[0] if values else None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values


class DirectRequest:
    """Implements `Asked` without Quart."""

    def __init__(self, scope: Any, receive: Receive, max_body_bytes: int) -> None:
        self.scope = scope
        self.headers = HeaderValues(scope["headers"])
        self.is_read = False
        """The whole body has arrived."""
        self.on_read: Callable[[], None] = lambda: None
        """Called then."""
        self._receive = receive
        self._max_body_bytes = max_body_bytes
        content_type = self.headers.get("content-type") or ""
        self.mimetype, self.mimetype_params = JSON, _NO_PARAMETERS
        if content_type != JSON:
            mimetype, self.mimetype_params = parse_options_header(content_type)
            self.mimetype = mimetype.lower()

    @property
    def content_length(self) -> int | None:
        return get_content_length(self.headers.get("content-length"), self.headers.get("transfer-encoding"))

    async def get_data(self, cache: bool = False, as_text: bool = False) -> bytes:
        """The whole body. Raises `TwowireError` (413), and `ClientGone`."""
        if (self.content_length or 0) > self._max_body_bytes:
            raise body_too_large(self._max_body_bytes)
        body: bytes | bytearray = b""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            if part := message.get("body"):
                if not body:
                    body = part
                else:
                    # Not a list of the pieces: a client can send them a byte each, and an object takes far more.
                    if not isinstance(body, bytearray):
                        body = bytearray(body)
                    body += part
                if len(body) > self._max_body_bytes:
                    raise body_too_large(self._max_body_bytes)
            if not message.get("more_body", False):
                self.is_read = True
                self.on_read()
                return bytes(body)


_NO_PARAMETERS: dict[str, str] = {}


def body_too_large(limit: int) -> TwowireError:
    """The error for a body of more than `limit` bytes."""
    return TwowireError(Fault.BODY_TOO_LARGE, f"The body is larger than the {limit} bytes that this server takes.")
