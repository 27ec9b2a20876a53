"""Standard error, where log lines go; on a terminal, one line below them shows how far the start is."""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
import threading
from collections.abc import MutableMapping
from typing import Any

import structlog

ERASE = "\r\x1b[K"
"""Moves to the start of the line and erases it (ECMA-48: CR, EL)."""
DEFAULT_COLUMNS = 80
REMOVE_S = 1.0
"""How long to wait for another thread's line before the status is removed."""

_SHOWN = {"listening", "engine_starting", "embeddings_ready"}
_STATES = {"engine_state", "embedder_state"}


class Screen(io.TextIOBase):
    """May be closed: a server whose log nobody reads must still serve and stop."""

    def __init__(self, *, is_live: bool = False) -> None:
        """`is_live`: it is a terminal on which a line can be drawn over."""
        self.is_live = is_live
        self.shows_start = False
        """Whether it shows what the log lines about a start say, so that those can be left out."""
        self._status = ""
        self._drawn = ""
        # Other threads log, too.
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        with self._lock:
            erased, self._drawn = ERASE if self._drawn else "", self._status
            self._put(f"{erased}{text}{self._drawn}")
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()

    def show(self, status: str) -> None:
        """Draw `status` in place of the last one; an empty one removes it. Does nothing unless the screen is live.

        Waits for no stalled terminal (Ctrl+S): the next call, or the next log line, draws what this one could not.
        """
        if not self.is_live:
            return
        self._status = status[: _columns() - 1]
        # Another thread may hold the lock while it waits for the terminal.
        if not self._lock.acquire(timeout=0 if status else REMOVE_S):
            return
        try:
            if (self._drawn or self._status) and _has_room():
                self._drawn = self._status
                self._put(ERASE + self._drawn)
                self.flush()
        finally:
            self._lock.release()

    def _put(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def leave_out(self, logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """A processor of structlog that drops what the screen shows in its own way."""
        if self.shows_start:
            is_start = event["event"] in _STATES and event.get("state") in ("starting", "ready")
            if is_start or event["event"] in _SHOWN:
                raise structlog.DropEvent
        return event


def _columns() -> int:
    try:
        # Of a terminal that does not tell, the size is 0.
        return os.get_terminal_size(sys.stderr.fileno()).columns or DEFAULT_COLUMNS
    except (OSError, ValueError):
        return DEFAULT_COLUMNS


def _has_room() -> bool:
    """Whether standard error takes text at once; a terminal that is stopped or not read does not."""
    try:
        room = select.poll()
        room.register(sys.stderr.fileno(), select.POLLOUT)
        return bool(room.poll(0))
    except (OSError, ValueError):
        return True
