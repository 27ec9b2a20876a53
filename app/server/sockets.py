"""Opens the listening sockets: one, or one for each API server on the same port."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import structlog
from hypercorn.config import Config, Sockets

from app.hypercorn import create_sockets

log = structlog.get_logger(__name__)


def listening_sockets(config: Config, count: int) -> list[Sockets]:
    """The sockets of each of `count` API servers, all on the port of `config`. Raises `OSError`.

    The system picks one of them for each connection (SO_REUSEPORT in Linux's `socket(7)`).
    """
    if (most := _longest_backlog()) < config.backlog:
        log.warning("backlog_shortened", asked_for=config.backlog, net_core_somaxconn=most)
    if count == 1:
        return [create_sockets(config)]
    _check_free(config.bind[0])
    config.workers = count  # Otherwise hypercorn does not let several sockets share a port.
    found: list[Sockets] = []
    for _ in range(count):
        found.append(create_sockets(config))
        host, _, _ = config.bind[0].rpartition(":")
        config.bind = [f"{host}:{all_sockets(found[0])[0].getsockname()[1]}"]
    return found


def _check_free(bind: str) -> None:
    """Raise `OSError` if another server has the port, because sockets that share ports would share it with that server.

    hypercorn checks as well, but leaves its socket open when that fails.
    """
    host, _, port = bind.rpartition(":")
    host = host.strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, int(port)))


def _longest_backlog() -> int:
    """The system's limit on a backlog (Linux, `listen(2)`); `sys.maxsize` if unknown."""
    try:
        return int(Path("/proc/sys/net/core/somaxconn").read_text())
    except (OSError, ValueError):
        return sys.maxsize


def all_sockets(sockets: Sockets) -> list[socket.socket]:
    """The sockets of one API server, with and without TLS."""
    return [*sockets.insecure_sockets, *sockets.secure_sockets]
