"""The messages between the server and a worker process of its own: a JSON header, and raw bytes behind it.

Does not know what the messages mean.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterable
from typing import Any

import orjson

_SIZES = struct.Struct("<II")
"""The lengths of the header and of the bytes behind it."""

Message = tuple[dict[str, Any], bytes]


def encoded(header: dict[str, Any], parts: Iterable[bytes] = ()) -> bytes:
    """One message, ready to be sent."""
    head, tail = orjson.dumps(header), b"".join(parts)
    return b"".join((_SIZES.pack(len(head), len(tail)), head, tail))


def taken(received: bytearray) -> Message | None:
    """The first message of what was received, which is removed; None where it is not whole yet."""
    if len(received) < _SIZES.size:
        return None
    head, tail = _SIZES.unpack_from(received)
    begin, end = _SIZES.size + head, _SIZES.size + head + tail
    if len(received) < end:
        return None
    message = orjson.loads(received[_SIZES.size : begin]), bytes(received[begin:end])
    del received[:end]
    return message


async def read(reader: asyncio.StreamReader) -> Message | None:
    """The next message; None where the other side is gone."""
    try:
        sizes = _SIZES.unpack(await reader.readexactly(_SIZES.size))
        head, tail = await reader.readexactly(sizes[0]), await reader.readexactly(sizes[1])
    except (asyncio.IncompleteReadError, OSError):
        return None
    return orjson.loads(head), tail


def read_blocking(wire: socket.socket) -> Message | None:
    """The same for a thread."""
    sizes = _exactly(wire, _SIZES.size)
    if sizes is None:
        return None
    lengths = _SIZES.unpack(sizes)
    head, tail = _exactly(wire, lengths[0]), _exactly(wire, lengths[1])
    return None if head is None or tail is None else (orjson.loads(head), tail)


def _exactly(wire: socket.socket, size: int) -> bytes | None:
    received = bytearray(size)
    view, filled = memoryview(received), 0
    while filled < size:
        try:
            count = wire.recv_into(view[filled:])
        except OSError:
            return None
        if count == 0:
            return None
        filled += count
    return bytes(received)
