"""Plays the bytes of one hostile connection against a server, and tells how the server took them."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

MAX_RECEIVED = 4 << 20
PAUSE_S = 0.005

Ending = Literal["answer", "eof", "abort"]
"""What the client does after its last byte: waits until the server closes, says that nothing more comes, or is gone."""


@dataclass
class Played:
    """What became of a connection."""

    sent: list[bytes] = field(default_factory=list)
    received: bytearray = field(default_factory=bytearray)
    is_closed_early: bool = False
    """The server closed it while the client still sent."""
    has_hung: bool = False
    """The server took or answered nothing within the limit, and did not close it either."""
    seconds: float = 0.0


async def play(port: int, chunks: Iterable[bytes], ending: Ending, rng: random.Random, limit_s: float) -> Played:
    """Send `chunks` on a new connection, one after another, and read whatever comes meanwhile.

    Not by asyncio's streams: where a write fails, they drop what the server had sent before it closed.
    """
    played = Played()
    began_at = time.monotonic()
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, ("127.0.0.1", port))
        reading = asyncio.create_task(_collect(connection, played.received))
        try:
            async with asyncio.timeout(limit_s):
                try:
                    await _send(connection, chunks, rng, reading, played)
                    if ending == "eof" and not reading.done():
                        connection.shutdown(socket.SHUT_WR)
                except OSError:
                    played.is_closed_early = True
                if ending != "abort" or played.is_closed_early:
                    await asyncio.wait({reading})
        except TimeoutError:
            played.has_hung = True
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            # Closed with a reset, as by a client that is gone.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    played.seconds = time.monotonic() - began_at
    return played


async def _send(
    connection: socket.socket,
    chunks: Iterable[bytes],
    rng: random.Random,
    reading: asyncio.Task[None],
    played: Played,
) -> None:
    """Send until all is sent or the server has closed; raises OSError where it closed in the middle of a chunk."""
    loop = asyncio.get_running_loop()
    for chunk in chunks:
        played.sent.append(chunk)
        await loop.sock_sendall(connection, chunk)
        # So that some chunks arrive on their own, and not as one.
        await asyncio.wait({reading}, timeout=PAUSE_S if rng.random() < 0.3 else 0)
        if reading.done():
            played.is_closed_early = True
            return


async def _collect(connection: socket.socket, received: bytearray) -> None:
    loop = asyncio.get_running_loop()
    try:
        while part := await loop.sock_recv(connection, 65536):
            received += part[: max(0, MAX_RECEIVED - len(received))]
    except OSError:
        pass
