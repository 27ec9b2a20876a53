"""The options of TLS and of connections: who takes them, and what a client may do before anybody knows what it wants.

Does not know the other options, which `app.config.settings` adds, nor what enforces these.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, model_validator

from app.config.field import CONNECTIONS, LISTENING, TLS, option
from app.config.values import FieldError
from app.security.tls import CertificateError, server_context


class ConnectionOptions(BaseModel):
    """A part of `app.config.settings.Settings`."""

    api_server_count: int = option(
        LISTENING,
        1,
        "How many processes answer clients, on one port and before one engine; for where one is busy and the engine "
        "is not. More than one needs Linux.",
        ge=1,
        le=64,
    )
    api_server_balance_by: Literal["address", "connection"] = option(
        LISTENING,
        "address",
        "What decides which of several API servers a client meets: its address, so that it always meets the one that "
        "knows its tickets and resumable chats; or chance for each connection, for where all have a proxy's address.",
    )

    backlog: int = option(
        LISTENING,
        2048,
        "How many new connections each API server queues until it accepts them. Beyond that, clients have to retry, "
        "which takes a second. Linux caps this at net.core.somaxconn.",
        ge=1,
        le=65535,
    )

    certfile: Path | None = option(
        TLS,
        None,
        "A PEM file with the certificate and those between it and its root; the server then speaks TLS alone. It is "
        "read again when it changes, and on SIGHUP.",
        shown="none",
    )
    keyfile: Path | None = option(
        TLS, None, "A PEM file with the certificate's private key, without a password.", shown="none"
    )

    max_connections: int = option(CONNECTIONS, 10_000, "How many connections the server holds.", ge=1)
    max_connections_per_address: int = option(
        CONNECTIONS,
        4096,
        "How many connections one address may hold; behind a proxy, all clients have the proxy's.",
        ge=1,
    )
    max_streams_per_connection: int = option(
        CONNECTIONS, 100, "How many requests one HTTP/2 connection may have open at a time.", ge=1, le=1000
    )
    max_header_bytes: int = option(
        CONNECTIONS,
        16 * 1024,
        "How large the headers of a request may be, names and values together.",
        metavar="BYTES",
        ge=1024,
        le=65536,
    )
    max_headers: int = option(CONNECTIONS, 100, "How many headers a request may have.", ge=10)
    header_timeout_s: float = option(
        CONNECTIONS,
        20.0,
        "How many seconds the headers of a request may take, from their first byte on; and the handshake of TLS.",
        metavar="SECONDS",
        gt=0,
    )
    idle_timeout_s: float = option(
        CONNECTIONS,
        75.0,
        "After how long a connection without a request is closed. Longer than clients keep theirs, so that they are "
        "the ones to close it.",
        metavar="SECONDS",
        gt=0,
    )
    send_timeout_s: float = option(
        CONNECTIONS,
        15.0,
        "After how long a client that takes no data of its answer is cut, and its generation ended.",
        metavar="SECONDS",
        gt=0,
    )

    coalesce_ms: float = option(
        CONNECTIONS,
        0.0,
        "For how long the chunks of a fast stream wait for each other, to come as one. The first token never waits. "
        "Fewer chunks cost the server and its clients less; 20 is hardly seen.",
        metavar="MILLISECONDS",
        ge=0,
        le=1000,
    )

    @model_validator(mode="after")
    def _refuse_several_api_servers_elsewhere(self) -> Self:
        if self.api_server_count > 1 and sys.platform != "linux":
            raise FieldError("api_server_count", "more than one needs Linux")
        return self

    @model_validator(mode="after")
    def _check_certificate(self) -> Self:
        if (self.certfile is None) != (self.keyfile is None):
            missing = "keyfile" if self.keyfile is None else "certfile"
            raise FieldError(missing, "--certfile and --keyfile need each other")
        if self.certfile is not None and self.keyfile is not None:
            try:
                server_context(self.certfile, self.keyfile)
            except CertificateError as error:
                raise FieldError("certfile", str(error)) from None
        return self
