"""Fixes what hypercorn 0.18 gets wrong for a streaming server, in a file for each part of it.

Each fix is a class that names the defect and the test that fails without it. A newer hypercorn may need none of them,
so the version is pinned.
"""

from __future__ import annotations

from app.hypercorn.connection import create_sockets
from app.hypercorn.fast_write import FastWriter, abort_connection, fast_writer_of, when_gone
from app.hypercorn.fixes import IncompatibleHypercorn, install, uninstall

__all__ = [
    "FastWriter",
    "IncompatibleHypercorn",
    "abort_connection",
    "create_sockets",
    "fast_writer_of",
    "install",
    "uninstall",
    "when_gone",
]
