"""Sends fast streams in fewer, larger chunks: text that comes soon after a chunk waits a little (`--coalesce-ms`).

The first token is never held back, nor is the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)


class Pace:
    """One timer for all streams of a server that hold text, in place of one for each."""

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._waiting: list[Callable[[], None]] = []

    def at_next(self, release: Callable[[], None]) -> None:
        """Call `release` once, at most `interval_s` from now."""
        if not self._waiting:
            asyncio.get_running_loop().call_later(self.interval_s, self._tick)
        self._waiting.append(release)

    def _tick(self) -> None:
        waiting, self._waiting = self._waiting, []
        for release in waiting:
            release()


class Coalescer:
    """Stands between the engine and the sender of a stream on the fast path."""

    def __init__(self, pace: Pace, send: Callable[[str], bool], wake: Callable[[], None]) -> None:
        self._pace = pace
        self._send = send
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._due = 0.0
        self._held: list[str] = []
        self._is_waiting = False

    def take(self, text: str) -> bool:
        """Send `text`, or hold it until it is due. False: it was not taken, because it cannot be sent."""
        if self._held:
            self._held.append(text)
            return True
        now = self._loop.time()
        if now >= self._due:
            if not self._send(text):
                return False
            self._due = now + self._pace.interval_s
            return True
        self._held.append(text)
        if not self._is_waiting:
            self._is_waiting = True
            self._pace.at_next(self._release)
        return True

    def _release(self) -> None:
        self._is_waiting = False
        if not self._held:
            return  # `rest` took it.
        try:
            was_sent = self._send("".join(self._held))
        except Exception:
            log.exception("coalesced_chunk_failed")
            was_sent = False
        if was_sent:
            self._held.clear()
            self.sent()
        else:
            # The reading task sends it, as soon as the wire takes it.
            self._wake()

    def sent(self) -> None:
        """Note that a chunk with a token is being sent, on either path."""
        self._due = self._loop.time() + self._pace.interval_s

    def rest(self) -> str:
        """Take what is held. The caller sends it before anything else."""
        text = "".join(self._held)
        self._held.clear()
        return text

    async def pause(self) -> None:
        """Wait until the next chunk is due; the engine merges meanwhile. For readers without a fast path."""
        delay_s = self._due - self._loop.time()
        if delay_s > 0:
            await asyncio.sleep(delay_s)
