"""Cuts clients that do not read: hypercorn 0.18 waits for them forever."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable
from typing import Any

import structlog

from app.hypercorn.config import send_timeout_s
from app.hypercorn.connection import OwnParts, WriterWrapper

log = structlog.get_logger(__name__)


class CutStuckReaders(OwnParts):
    """hypercorn 0.18 waits without a limit for a client that reads nothing, in a send as in a close.

    Here the connection is cut after `send_timeout_s`. A slow client is not cut: any byte that its system acknowledges
    starts the time anew. Test: `tests/live/fake/limits/test_stuck_readers.py`.
    """

    def make_writer(self, writer: Any) -> Any:
        return TimedWriter(super().make_writer(writer), send_timeout_s(self.config))


class TimedWriter(WriterWrapper):
    """A writer whose waits have a limit."""

    def __init__(self, writer: Any, limit_s: float) -> None:
        super().__init__(writer)
        self._limit_s = limit_s

    async def drain(self) -> None:
        # Mostly the socket has taken everything. The streams' own `drain` also tells of a connection that is lost.
        if self.transport.get_write_buffer_size() or self.transport.is_closing():
            await self._timed(self._writer.drain())

    async def wait_closed(self) -> None:
        await self._timed(self._writer.wait_closed())

    async def _timed(self, waiting: Awaitable[None]) -> None:
        if not self.transport.get_write_buffer_size():
            await waiting
            return
        watch = _Watch(self.transport, self._limit_s)
        try:
            await waiting
        finally:
            watch.stop()


class _Watch:
    """Checks `CHECKS` times within the limit, and cuts when nothing was acknowledged for as long as the limit."""

    CHECKS = 5

    def __init__(self, transport: asyncio.WriteTransport, limit_s: float) -> None:
        self._transport = transport
        self._checks_left = self.CHECKS
        self._every_s = limit_s / self.CHECKS
        self._acknowledged = _acknowledged_bytes(transport)
        self._timer = asyncio.get_running_loop().call_later(self._every_s, self._check)

    def stop(self) -> None:
        self._timer.cancel()

    def _check(self) -> None:
        acknowledged = _acknowledged_bytes(self._transport)
        self._checks_left = self._checks_left - 1 if acknowledged == self._acknowledged else self.CHECKS
        self._acknowledged = acknowledged
        if not self._checks_left:
            log.info("connection_cut", reason=f"it read nothing for {self._every_s * self.CHECKS:g} s")
            self._transport.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(self._every_s, self._check)


_BYTES_ACKED = struct.Struct("@120xQ")
"""The position of `tcpi_bytes_acked` in Linux's `struct tcp_info` (linux/tcp.h)."""


def _acknowledged_bytes(transport: asyncio.WriteTransport) -> int:
    """What the peer's system has acknowledged; where that is unknown, what still waits here."""
    try:
        info = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
        return int(_BYTES_ACKED.unpack(info)[0])
    except (OSError, ValueError, AttributeError, struct.error):  # Not TCP, another system, or closed already.
        return transport.get_write_buffer_size()
