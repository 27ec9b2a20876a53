"""Strangers that connect to a socket of ZeroMQ's, and are none of its peers."""

from __future__ import annotations

import socket

SOON_S = 30
OTHER_MECHANISM = b"\xff" + bytes(8) + b"\x7f\x03\x00PLAIN" + bytes(47)
"""A greeting of ZMTP 3.0 that asks for a password, which ends the connection."""


def knock(port: int) -> None:
    """Connect as a port scan does, and with a wrong greeting; returns when the other side has ended that connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=SOON_S):
        pass
    with socket.create_connection(("127.0.0.1", port), timeout=SOON_S) as stranger:
        stranger.sendall(OTHER_MECHANISM)
        while stranger.recv(1024):
            pass
