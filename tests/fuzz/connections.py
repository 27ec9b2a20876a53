"""Plays the bytes of one hostile connection against a server, and tells how the server took them."""

from __future__ import annotations

import asyncio
import random
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
    """Send `chunks` on a new connection, one after another, and read whatever comes meanwhile."""
    played = Played()
    began_at = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reading = asyncio.create_task(_collect(reader, played.received))
    try:
        async with asyncio.timeout(limit_s):
            for chunk in chunks:
                played.sent.append(chunk)
                writer.write(chunk)
                await writer.drain()
                # So that some chunks arrive on their own, and not as one.
                await asyncio.wait({reading}, timeout=PAUSE_S if rng.random() < 0.3 else 0)
                if reading.done():
                    played.is_closed_early = True
                    break
            if ending == "eof" and not reading.done():
                writer.write_eof()
            if ending != "abort":
                await asyncio.wait({reading})
    except TimeoutError:
        played.has_hung = True
    except OSError:
        played.is_closed_early = True
    finally:
        reading.cancel()
        writer.transport.abort()
        await asyncio.gather(reading, return_exceptions=True)
    played.seconds = time.monotonic() - began_at
    return played


async def _collect(reader: asyncio.StreamReader, received: bytearray) -> None:
    try:
        while part := await reader.read(65536):
            received += part[: max(0, MAX_RECEIVED - len(received))]
    except OSError:
        pass
