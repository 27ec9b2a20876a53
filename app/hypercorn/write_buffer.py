"""Gathers what is written to a connection within one turn of the event loop: it leaves in one system call.

Does not know what is written. A system call costs more than all else that a token needs. hypercorn 0.18 makes one for
the headers of an answer, one for each part, and one for its end, also where they follow each other at once; and over
HTTP/2 and the channel many streams write to one socket. (uvloop writes what it is given at once, too.)
Tests: `tests/app/hypercorn/test_outlet.py`, `tests/app/hypercorn/test_fast_write.py`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hypercorn.asyncio.tcp_server import TCPServer

HIGH_WATER = 64 * 1024
"""What may wait in front of the socket: where asyncio's transports, too, begin to make their writers wait."""

GATHERED_BYTES = 16 * 1024
"""From this size on it leaves at once: one more copy would cost as much as the system call."""


def gather_writes() -> None:
    """Give each connection an outlet, through which all leaves in the order in which it was written."""
    initialise = TCPServer.__init__

    def __init__(self: TCPServer, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        self.writer = _GatheringWriter(self.writer)  # type: ignore[assignment]

    TCPServer.__init__ = __init__  # type: ignore[method-assign]


class Outlet:
    """In front of one transport."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self.transport = transport
        self._loop = asyncio.get_running_loop()
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def is_taking(self) -> bool:
        """Little waits in front of the socket."""
        return self.transport.get_write_buffer_size() <= HIGH_WATER and not self.transport.is_closing()

    def write(self, *parts: bytes) -> None:
        """Send these at the turn's end, or at once if they are large."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts += parts
        self._size += sum(map(len, parts))
        if self._size >= GATHERED_BYTES:
            # Now, so that a writer who waits afterwards sees how much is not taken.
            self.flush()

    def offer(self, head: bytes, part: bytes) -> bool:
        """Send these soon; False: the socket does not take them, and nothing was sent."""
        if not self._parts and not self.is_taking:
            return False
        self.write(head, part)
        return True

    def write_now(self, part: bytes) -> None:
        """Send this at once: for who shares the connection with nobody."""
        self.flush()
        self.transport.write(part)

    def flush(self) -> None:
        """Send what has been gathered."""
        if self._parts:
            gathered = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            if not self.transport.is_closing():
                self.transport.write(gathered)


class _GatheringWriter:
    """A stream's writer with an outlet."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.transport = writer.transport
        self.outlet = Outlet(writer.transport)
        self.write = self.outlet.write
        self._writer = writer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def write_eof(self) -> None:
        self.outlet.flush()
        self._writer.write_eof()

    def close(self) -> None:
        self.outlet.flush()
        self._writer.close()
