"""Limits of connections that hypercorn 0.18 has no settings for, kept in its configuration all the same.

hypercorn accepts any name in a configuration file, so a file can set these, too.
"""

from __future__ import annotations

import time

from hypercorn.config import Config

from app.stores.counts import Counts


class KeepDate(Config):
    """hypercorn 0.18 formats the date anew for each response; here once a second.

    Test: `tests/app/hypercorn/test_hypercorn.py::test_the_date_of_responses_is_formatted_once_a_second`.
    """

    _headers: tuple[int, str, list[tuple[bytes, bytes]]] = (0, "", [])
    """The second in which they were made, the protocol, and the headers."""

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        """The headers of all responses, made anew once a second: the only one that changes is the date."""
        second = int(time.time())
        if self._headers[:2] != (second, protocol):
            self._headers = second, protocol, super().response_headers(protocol)
        return self._headers[2]


class ServerConfig(KeepDate):
    """hypercorn's configuration with these limits. For a plain `Config`, the defaults below apply."""

    send_timeout_s: float = 15.0
    """How long a client may read nothing of what is sent to it before it is cut."""
    header_timeout_s: float = 20.0
    """How long the headers of a request may take, from their first byte; also the TLS handshake."""
    max_headers: int = 100
    """How many headers a request may have; the application refuses one with more."""
    max_connections: int = 10_000
    max_connections_per_address: int = 4096


def share_counts(config: Config, shared: Counts) -> None:
    """Count the open connections together with other processes that have this port."""
    config.__dict__["_twowire_counts"] = shared


def counts(config: Config) -> Counts | None:
    """What the open connections are counted in, if it is not this process alone."""
    found: Counts | None = config.__dict__.get("_twowire_counts")
    return found


def send_timeout_s(config: Config) -> float:
    return getattr(config, "send_timeout_s", ServerConfig.send_timeout_s)


def header_timeout_s(config: Config) -> float:
    return getattr(config, "header_timeout_s", ServerConfig.header_timeout_s)


def max_header_fields(config: Config) -> int:
    """How many headers are read: some more than allowed, to count pseudo-headers (RFC 9113, section 8.3), too."""
    return getattr(config, "max_headers", ServerConfig.max_headers) + 16


def max_connections(config: Config) -> int:
    return getattr(config, "max_connections", ServerConfig.max_connections)


def max_connections_per_address(config: Config) -> int:
    return getattr(config, "max_connections_per_address", ServerConfig.max_connections_per_address)
