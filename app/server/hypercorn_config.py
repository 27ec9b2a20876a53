"""hypercorn's configuration, from the settings."""

from __future__ import annotations

import ssl

from hypercorn.config import Config

from app.config.settings import Settings
from app.hypercorn.config import ServerConfig
from app.security.tls import Certificate


def hypercorn_config(settings: Settings, certificate: Certificate | None = None) -> Config:
    """hypercorn's configuration for a streaming server; other values keep its defaults."""
    config = _TlsConfig(certificate) if certificate is not None else ServerConfig()
    listening, limits = settings.listening, settings.connections
    config.bind = [f"{listening.url_host}:{listening.port}"]
    config.backlog = listening.backlog
    config.include_server_header = False
    for name in ServerConfig.__annotations__:  # What hypercorn itself has no settings for.
        setattr(config, name, getattr(limits, name))
    config.websocket_max_message_size = settings.channel.max_message_bytes
    config.h11_max_incomplete_size = limits.max_header_bytes
    config.h2_max_header_list_size = limits.max_header_bytes
    config.h2_max_concurrent_streams = limits.max_streams_per_connection
    config.ssl_handshake_timeout = limits.header_timeout_s
    # WebSocket messages, each up to the largest size, and parts of a request's body that wait for the application.
    config.max_app_queue_size = 2
    config.keep_alive_timeout = limits.idle_timeout_s
    # By default hypercorn closes a connection, streams and all, after a thousand requests.
    config.keep_alive_max_requests = 2**31
    # hypercorn logs where it listens, and so do we. Its warnings and errors are kept.
    config.loglevel = "WARNING"
    # hypercorn begins to stop only after the drain: what is still open then is already closing.
    config.graceful_timeout = 3
    return config


class _TlsConfig(ServerConfig):
    """Listens with the context of a certificate that may change."""

    ssl_enabled = True

    def __init__(self, certificate: Certificate) -> None:
        self._certificate = certificate

    def create_ssl_context(self) -> ssl.SSLContext:
        return self._certificate.context
