"""Ports for programs that must be told theirs, and cannot pick one."""

from __future__ import annotations

import os
import random
import socket

FIRST, COUNT, WORKERS = 20_000, 2_000, 6
"""Below the ports that Linux gives to outgoing connections (from 32768), so that none takes a port meanwhile."""

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
# Workers that run at once draw from ranges of their own, and none draws a port twice.
_candidates = iter(random.sample(range(FIRST + _worker * COUNT, FIRST + (_worker + 1) * COUNT), COUNT))


def unused_port() -> int:
    """A port of 127.0.0.1 where nothing listens, never the same twice."""
    for port in _candidates:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no port is left of the {COUNT} from {FIRST + _worker * COUNT}")
