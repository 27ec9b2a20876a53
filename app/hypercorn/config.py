"""What a connection may do: figures that hypercorn 0.18 has no settings for, read from its configuration all the same.

Does not know the app's options. hypercorn takes any name from a configuration file, so a file may hold these, too.
"""

from __future__ import annotations

from hypercorn.config import Config


class ServerConfig(Config):
    """hypercorn's configuration with these limits in it. A plain `Config`, whoever made it, gets the defaults."""

    send_timeout_s: float = 15.0
    """After how long a client that takes nothing of what is sent to it is cut."""
    header_timeout_s: float = 20.0
    """How long the headers of a request may take, from their first byte, and the handshake of TLS."""
    max_headers: int = 100
    """How many headers a request may have; one with more is refused by the application."""
    max_connections: int = 10_000
    max_connections_per_address: int = 4096


def send_timeout_s(config: Config) -> float:
    return getattr(config, "send_timeout_s", ServerConfig.send_timeout_s)


def header_timeout_s(config: Config) -> float:
    return getattr(config, "header_timeout_s", ServerConfig.header_timeout_s)


def max_header_fields(config: Config) -> int:
    """How many are looked at: some more than a request may have, pseudo-headers (RFC 9113, section 8.3) among them."""
    return getattr(config, "max_headers", ServerConfig.max_headers) + 16


def max_connections(config: Config) -> int:
    return getattr(config, "max_connections", ServerConfig.max_connections)


def max_connections_per_address(config: Config) -> int:
    return getattr(config, "max_connections_per_address", ServerConfig.max_connections_per_address)
