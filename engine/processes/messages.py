"""Frames the messages between the server and its worker processes: a JSON header, followed by raw bytes."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterable
from typing import Any

import orjson

_SIZES = struct.Struct("<II")
"""The lengths of the header and of the bytes that follow."""

Message = tuple[dict[str, Any], bytes]


def encoded(header: dict[str, Any], parts: Iterable[bytes] = ()) -> bytes:
    """One message as bytes."""
    head, tail = orjson.dumps(header), b"".join(parts)
    return b"".join((_SIZES.pack(len(head), len(tail)), head, tail))


def taken(received: bytearray) -> Message | None:
    """Remove the first message from `received` and return it; None if it is incomplete."""
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
    """The next message; None if the other side is gone."""
    try:
        sizes = _SIZES.unpack(await reader.readexactly(_SIZES.size))
        head, tail = await reader.readexactly(sizes[0]), await reader.readexactly(sizes[1])
    except (asyncio.IncompleteReadError, OSError):
        return None
    return orjson.loads(head), tail


def read_blocking(wire: socket.socket) -> Message | None:
    """`read` for a thread."""
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
