"""Gathers what is written to a connection within one turn of the event loop, so that it leaves in one system call.

A system call costs more than everything else that a token needs. hypercorn 0.18 makes one for the headers of a
response, one for each part, and one for its end, even where they follow each other at once; and over HTTP/2 and the
channel many streams write to one socket. (uvloop, too, sends each write at once.)
Tests: `tests/app/hypercorn/test_write_buffer.py`, `tests/app/hypercorn/test_fast_write.py`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from app.hypercorn.connection import OwnParts, WriterWrapper

HIGH_WATER = 64 * 1024
"""How much may wait in front of the socket: where asyncio's transports begin to make their writers wait, too."""

GATHERED_BYTES = 16 * 1024
"""From this size on bytes leave at once: copying them once more would cost as much as the system call."""


class GatherWrites(OwnParts):
    """hypercorn 0.18 makes a system call for each part of a response; here all writes go through a `WriteBuffer`."""

    write_buffer: WriteBuffer

    def make_writer(self, writer: Any) -> Any:
        self.write_buffer = WriteBuffer(writer.transport)
        return GatheringWriter(super().make_writer(writer), self.write_buffer)


class WriteBuffer:
    """In front of one transport."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self.transport = transport
        self._loop = asyncio.get_running_loop()
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def has_room(self) -> bool:
        """Little waits in front of the socket."""
        return self.transport.get_write_buffer_size() <= HIGH_WATER and not self.transport.is_closing()

    def write(self, *parts: bytes) -> None:
        """Send `parts` at the end of the turn, or at once if they are large."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts += parts
        self._size += sum(map(len, parts))
        if self._size >= GATHERED_BYTES:
            # Now, so that a writer who waits afterwards sees how much the socket did not take.
            self.flush()

    def try_write(self, head: bytes, part: bytes) -> bool:
        """Send both soon; False: the socket has no room, and nothing was sent."""
        if not self._parts and not self.has_room:
            return False
        self.write(head, part)
        return True

    def write_now(self, part: bytes) -> None:
        """Send `part` at once: for a stream that has the connection to itself."""
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


class GatheringWriter(WriterWrapper):
    """A writer that writes to a `WriteBuffer`."""

    def __init__(self, writer: Any, buffer: WriteBuffer) -> None:
        super().__init__(writer)
        self.write = buffer.write
        self._buffer = buffer

    def write_eof(self) -> None:
        self._buffer.flush()
        super().write_eof()

    def close(self) -> None:
        self._buffer.flush()
        super().close()
