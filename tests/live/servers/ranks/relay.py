"""Takes connections of one network into another: of a socket that listens in the one, to an address in the other.

    python -m tests.live.servers.ranks.relay LISTENING_FD ADDRESS PORT

It runs in the other network. Each side's end, however it comes, is the end of both.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

CHUNK = 1 << 16


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(CHUNK):
            writer.write(piece)
            await writer.drain()


async def serve(listener: socket.socket, address: str, port: int) -> None:
    """Relay for ever."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(address, port)
        except OSError:
            writer.transport.abort()
            return
        copies = {asyncio.create_task(_copy(reader, back)), asyncio.create_task(_copy(there, writer))}
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        for side in (writer, back):
            side.close()
        _, late = await asyncio.wait(copies, timeout=1)
        for copy in late:
            copy.cancel()

    async with await asyncio.start_server(relay, sock=listener) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], int(sys.argv[3])))
