"""Opens the listening sockets: one, or one for each API server on the same port."""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from pathlib import Path

import structlog
from hypercorn.config import Config, Sockets

from app.hypercorn import create_sockets

log = structlog.get_logger(__name__)

SO_ATTACH_REUSEPORT_CBPF = 51
"""From Linux's `socket(7)`; Python has no name for it."""
NETWORK_HEADER = 0xFFF00000
"""Offsets from here on are relative to the IP header (SKF_NET_OFF in `linux/filter.h`)."""


def listening_sockets(config: Config, count: int, *, by_address: bool) -> list[Sockets]:
    """The sockets of each of `count` API servers, all on the port of `config`. Raises `OSError`.

    With `by_address`, the client's address decides which API server gets its connections; otherwise the system picks
    one for each connection.
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
    if by_address:
        _choose_by_address(all_sockets(found[0])[0], count)
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


def _choose_by_address(sock: socket.socket, count: int) -> None:
    """Let the client's address pick one of the sockets that share a port, by the order in which they were created.

    The program is classic BPF. It returns the last four bytes of the IPv4 or IPv6 source address, modulo the number of
    sockets.
    """
    load_byte, shift_right, jump_if_equal, load_word, jump, modulo, return_it = 0x30, 0x74, 0x15, 0x20, 0x05, 0x94, 0x16
    program = (
        (load_byte, 0, 0, NETWORK_HEADER),
        (shift_right, 0, 0, 4),
        (jump_if_equal, 0, 2, 6),
        (load_word, 0, 0, NETWORK_HEADER + 20),
        (jump, 0, 0, 1),
        (load_word, 0, 0, NETWORK_HEADER + 12),
        (modulo, 0, 0, count),
        (return_it, 0, 0, 0),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    described = struct.pack("HL", len(program), ctypes.addressof(code))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, described)
