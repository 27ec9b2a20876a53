"""Requests whose head comes in one piece and has nothing unusual, read with one regular expression."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import h11
from h11._readers import READERS
from h11._writers import WRITERS
from hypercorn.events import Event, RawData, Updated
from hypercorn.protocol import h11 as http1_module
from hypercorn.protocol.events import Request
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol

# As h11 has them (`h11._abnf`), without what is deprecated: bare line feeds and values over several lines.
NAME = rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]++"
# Groups are atomic, not possessive: before Python 3.11.5, a possessive one keeps what its failed last round has read.
VALUE = rb"(?>(?:[^\x00\s]++(?:[ \t]++[^\x00\s]++)*)?)"
_FIELD = rb"%b:[ \t]*+%b[ \t]*+\r\n"
_HEAD = re.compile(
    rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[\x21-\x7e]*+) HTTP/1\.1\r\n((?>(?:%b)+))\r\n"
    % (_FIELD % (NAME, VALUE))
)
_FIELDS = re.compile(_FIELD % (b"(%b)" % NAME, b"(%b)" % VALUE))

_DECISIVE = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect"})
"""The headers on which it depends where a request ends, and what becomes of its connection."""

MAX_LENGTH_DIGITS = 20
"""As in h11."""


class PlainHead(NamedTuple):
    """The head of a plain request."""

    method: str
    target: bytes
    headers: list[tuple[bytes, bytes]]
    """Names in lower case."""
    length: int
    """Of the body."""
    end: int
    """Where the body begins."""


def plain_head(data: bytes) -> PlainHead | None:
    """The head that `data` begins with; None unless it is whole and plain.

    Plain is a request for a path by HTTP/1.1, with one Host and at most one Content-Length, that neither ends the
    connection nor changes the protocol, expects nothing, and whose body has no coding.
    """
    found = _HEAD.match(data)
    if found is None:
        return None
    method, target, fields = found.groups()
    headers = [(name.lower(), value) for name, value in _FIELDS.findall(fields)]
    decisive = [header for header in headers if header[0] in _DECISIVE]
    values = dict(decisive)
    if len(values) != len(decisive) or b"host" not in values:
        return None
    length = values.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > MAX_LENGTH_DIGITS:
        return None
    if not values.keys() <= {b"host", b"content-length", b"connection"}:
        return None
    if values.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    return PlainHead(method.decode(), target, headers, int(length), found.end())


class ShortenRequests(H11Protocol):
    """hypercorn 0.18 and h11 0.16 take some forty calls for each request; here a plain one takes a few.

    Tests: `tests/app/hypercorn/plain/test_requests.py`.
    """

    async def handle(self, event: Event) -> None:
        head = plain_head(event.data) if isinstance(event, RawData) and self._is_between_requests() else None
        if head is None:
            await super().handle(event)
        else:
            assert isinstance(event, RawData)
            await self._begin(head, event.data[head.end :])

    def _is_between_requests(self) -> bool:
        """Nothing has come of the next request, and nothing is left to do for the last."""
        connection: Any = self.connection
        if self.stream is not None or not isinstance(connection, h11.Connection) or self.config.h11_pass_raw_headers:
            return False
        state = connection._cstate
        return (
            state.states[h11.CLIENT] is h11.IDLE
            and state.states[h11.SERVER] is h11.IDLE
            and state.keep_alive
            and not connection._receive_buffer._data
            and not connection._receive_buffer_closed
        )

    async def _begin(self, head: PlainHead, rest: bytes) -> None:
        """Start the stream of a request of which `rest` has come after its head."""
        is_whole = len(rest) == head.length
        self._note(head, rest, is_whole=is_whole)
        await self.send(Updated(idle=False))
        # The name that hypercorn looks up, too: it stands for the class with the fixes.
        stream = self.stream = vars(http1_module)["HTTPStream"](
            *(self.app, self.config, self.context, self.task_group, self.ssl),
            *(self.client, self.server, self.stream_send, STREAM_ID),
        )
        method, target, headers, *_ = head
        await stream.handle(Request(STREAM_ID, headers, "1.1", method, target, self.connection_state))
        self.keep_alive_requests += 1
        await self.context.mark_request()
        if not is_whole:
            await self._handle_events()
        elif not stream.closed:
            await stream.app_put({"type": "http.request", "body": rest, "more_body": False})

    def _note(self, head: PlainHead, rest: bytes, *, is_whole: bool) -> None:
        """Bring h11's connection into the state after the head, or after a request that is whole."""
        connection: Any = self.connection
        states = connection._cstate.states
        connection._request_method, connection.their_http_version = head.method.encode(), b"1.1"
        states[h11.SERVER], connection._writer = h11.SEND_RESPONSE, WRITERS[h11.SERVER, h11.SEND_RESPONSE]
        if is_whole:
            states[h11.CLIENT], connection._reader = h11.DONE, READERS[h11.CLIENT, h11.DONE]
        else:
            reader: Any = READERS[h11.SEND_BODY]
            states[h11.CLIENT], connection._reader = h11.SEND_BODY, reader["content-length"](head.length)
            connection._receive_buffer += rest
