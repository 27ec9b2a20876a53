"""Limits of connections and of requests, whatever they ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from engine.deadlines import Deadlines
from engine.option import Option


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one TCP connection may do before and while it carries requests."""

    max_connections: Annotated[
        int, Option("The maximum number of connections that the server accepts at a time.", ge=1)
    ] = 10_000
    max_connections_per_address: Annotated[
        int,
        Option(
            "The maximum number of connections from one address; clients behind a proxy all have the proxy's address.",
            ge=1,
        ),
    ] = 4096
    max_streams_per_connection: Annotated[
        int, Option("The maximum number of requests open at a time on one HTTP/2 connection.", ge=1, le=1000)
    ] = 100
    max_header_bytes: Annotated[
        int, Option("The maximum total size of a request's headers, names and values together.", ge=1024, le=65536)
    ] = 16 * 1024
    max_headers: Annotated[int, Option("The maximum number of headers in a request.", ge=10)] = 100
    header_timeout_s: Annotated[
        float,
        Option(
            "How long a request's headers may take to arrive, from their first byte. Also the limit for the TLS "
            "handshake.",
            gt=0,
        ),
    ] = 20.0
    idle_timeout_s: Annotated[
        float,
        Option(
            "After this many seconds without a request, a connection is closed. Should exceed the clients' own idle "
            "timeout, so that they close first.",
            gt=0,
        ),
    ] = 75.0
    send_timeout_s: Annotated[
        float,
        Option(
            "After this many seconds, a client that reads none of its response is disconnected and its generation "
            "cancelled.",
            gt=0,
        ),
    ] = 15.0
    coalesce_ms: Annotated[
        float,
        Option(
            "How long the chunks of a fast stream wait for each other, to be sent as one. The first token never "
            "waits. Fewer chunks cost the server and its clients less; a delay of 20 is barely visible.",
            ge=0,
            le=1000,
        ),
    ] = 0.0


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What one request may do."""

    max_body_bytes: Annotated[int, Option("The maximum size of a request body, in bytes.", ge=1)] = 16 * 1024 * 1024
    body_timeout_s: Annotated[float, Option("How long a request's body may take to arrive.", gt=0)] = 60.0
    keepalive_s: Annotated[
        float,
        Option("After this many silent seconds, a stream gets a comment line, so that no proxy closes it.", gt=0),
    ] = 15.0
    drain_timeout_s: Annotated[
        float, Option("How long running requests may take to finish when the server stops.", ge=0)
    ] = 30.0


@dataclass(frozen=True, slots=True)
class DeadlineLimits:
    """How long requests may take, in seconds: to their first token, and to their end. None for no limit."""

    first_token_s: Annotated[
        float | None,
        Option(
            "How long a request may wait for its first token before it ends with an error.",
            name="first_token_timeout_s",
            shown="no limit",
            gt=0,
        ),
    ] = None
    request_s: Annotated[
        float | None,
        Option(
            "How long a whole request may take before it ends with an error. Clients may set a shorter limit with the "
            "header X-Request-Timeout.",
            name="request_timeout_s",
            shown="no limit",
            gt=0,
        ),
    ] = None

    def starting_now(self, asked_s: float | None) -> Deadlines:
        """The deadlines of a request that begins now; `asked_s` is the client's own limit, within the server's."""
        limits = [limit for limit in (self.request_s, asked_s) if limit is not None]
        return Deadlines(self.first_token_s, min(limits, default=None))


@dataclass(frozen=True, slots=True)
class RatesPerMinute:
    """How much one client may use: one API key, or one address if there are no keys."""

    requests_per_minute: Annotated[
        int | None,
        Option(
            "The maximum number of requests per minute from one client: one API key, or one address if there are no "
            "keys.",
            shown="no limit",
            ge=1,
        ),
    ] = None
    tokens_per_minute: Annotated[
        int | None,
        Option(
            "The maximum number of tokens per minute for one client, prompts and outputs together.",
            shown="no limit",
            ge=1,
        ),
    ] = None
