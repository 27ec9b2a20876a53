"""Hosts on the loopback that count who connects, and a resolver for their names."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp.abc import ResolveResult

Answer = Callable[[str], bytes | None]
"""From a path to the whole answer of a host, head and body; None to say nothing until the client is gone."""


@dataclass
class Host:
    """A host that listens on the loopback."""

    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """An HTTP/1.1 answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def listening(given: Answer) -> AsyncIterator[Host]:
    """A host until the end of the block."""
    host = Host()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host.connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            host.requests.append(head)
            if (said := given(head.split()[1].decode())) is None:
                await reader.read()
            else:
                writer.write(said)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host.port = server.sockets[0].getsockname()[1]
    async with server:
        yield host


def found(address: str, port: int) -> ResolveResult:
    """What a resolver says of a name."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(hostname=address, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)
