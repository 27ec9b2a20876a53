"""Limits of connections that hypercorn 0.18 has no settings for, kept in its configuration all the same.

hypercorn accepts any name in a configuration file, so a file can set these, too.
"""

from __future__ import annotations

from hypercorn.config import Config

from app.stores.counts import Counts


class ServerConfig(Config):
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
