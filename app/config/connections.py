"""Limits of connections and of requests, whatever they ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from engine.deadlines import Deadlines
from engine.option import Option


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one TCP connection may do before and while it carries requests."""

    max_connections: Annotated[int, Option("How many connections the server accepts at a time.", ge=1)] = 10_000
    max_connections_per_address: Annotated[
        int,
        Option(
            "How many connections one address may have; clients behind a proxy all have the proxy's address.",
            ge=1,
        ),
    ] = 4096
    max_streams_per_connection: Annotated[
        int, Option("How many requests may be open at a time on one HTTP/2 connection.", ge=1, le=1000)
    ] = 100
    max_header_bytes: Annotated[
        int, Option("The largest total size of a request's headers, names and values together.", ge=1024, le=65536)
    ] = 16 * 1024
    max_headers: Annotated[int, Option("How many headers a request may have.", ge=10)] = 100
    header_timeout_s: Annotated[
        float,
        Option("How many seconds a request's headers may take, from their first byte; and the TLS handshake.", gt=0),
    ] = 20.0
    idle_timeout_s: Annotated[
        float,
        Option(
            "After how many seconds without a request a connection is closed. Should exceed the clients' own idle "
            "timeout, so that it is they who close it.",
            gt=0,
        ),
    ] = 75.0
    send_timeout_s: Annotated[
        float,
        Option(
            "After how many seconds a client that reads none of its response is disconnected, and its generation "
            "cancelled.",
            gt=0,
        ),
    ] = 15.0
    coalesce_ms: Annotated[
        float,
        Option(
            "How long the chunks of a fast stream wait for each other, to be sent as one. The first token never waits. "
            "Fewer chunks cost the server and its clients less; 20 is barely visible.",
            ge=0,
            le=1000,
        ),
    ] = 0.0


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What one request may do."""

    max_body_bytes: Annotated[int, Option("The largest request body, in bytes.", ge=1)] = 16 * 1024 * 1024
    body_timeout_s: Annotated[float, Option("How many seconds a request's body may take to arrive.", gt=0)] = 60.0
    keepalive_s: Annotated[
        float,
        Option("After how many silent seconds a stream gets a comment line, so that no proxy closes it.", gt=0),
    ] = 15.0
    drain_timeout_s: Annotated[
        float, Option("How many seconds running requests have to finish when the server is told to stop.", ge=0)
    ] = 30.0


@dataclass(frozen=True, slots=True)
class DeadlineLimits:
    """How long requests may take, in seconds: to their first token, and to their end. None for no limit."""

    first_token_s: Annotated[
        float | None,
        Option(
            "How many seconds a request may wait for its first token; then it ends with an error.",
            name="first_token_timeout_s",
            shown="no limit",
            gt=0,
        ),
    ] = None
    request_s: Annotated[
        float | None,
        Option(
            "How many seconds a whole request may take; then it ends with an error. A client may ask for less with the "
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
            "How many requests a minute one client may make: one API key, or one address if there are no keys.",
            shown="no limit",
            ge=1,
        ),
    ] = None
    tokens_per_minute: Annotated[
        int | None,
        Option(
            "How many tokens a minute one client may use, prompts and outputs together.",
            shown="no limit",
            ge=1,
        ),
    ] = None
