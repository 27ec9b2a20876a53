"""The wires of the load generator: a chat's stream over each, counted as it comes with as little work as possible.

HTTP/1.1 is spoken here, only as much of it as a client that reads everything needs; the others have a file each.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import orjson

from bench.stream import PATH, TAIL_BYTES, Stream, Wire, connect, events_in
from bench.wires.channel import Channel
from bench.wires.http2 import SseHttp2


class _Http1(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, host: str) -> None:
        self._head = f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: "
        self._stream: Stream | None = None
        self._in_body = False
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are not asyncio's by class.
        self.transport = cast(asyncio.Transport, transport)

    def ask(self, body: dict[str, Any]) -> Stream:
        raw = orjson.dumps(body | {"stream": True})
        self._stream, self._in_body, self._tail = Stream(), False, b""
        self.transport.write(f"{self._head}{len(raw)}\r\n\r\n".encode() + raw)
        return self._stream

    def data_received(self, data: bytes) -> None:
        stream = self._stream
        if stream is None:
            return
        if not self._in_body:
            data = self._tail + data
            head, found, rest = data.partition(b"\r\n\r\n")
            if not found:
                self._tail = data
                return
            if not head.startswith(b"HTTP/1.1 200"):
                stream.end(data.decode("utf-8", "replace")[:600])
                return
            self._in_body, self._tail, data = True, b"", rest
        events = events_in(self._tail, data)
        self._tail = (self._tail + data[-TAIL_BYTES:])[-TAIL_BYTES:]
        if events:
            stream.arrived(events)
        if self._tail.endswith(b"\r\n0\r\n\r\n"):
            stream.finish(self._tail)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._stream is not None:
            self._stream.end("the connection was lost")


class Sse:
    """A connection of HTTP/1.1 for each chat that runs."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._connections: list[_Http1] = []

    async def open(self, slots: int, *, at_once: bool = False) -> None:
        loop = asyncio.get_running_loop()
        new = [loop.create_connection(lambda: _Http1(self._host), self._host, self._port) for _ in range(slots)]
        self._connections = [connection for _, connection in await connect(new, at_once=at_once)]

    def ask(self, slot: int, body: dict[str, Any]) -> Stream:
        return self._connections[slot].ask(body)

    def close(self) -> None:
        for connection in self._connections:
            connection.transport.close()


def wire_of(name: str, host: str, port: int, per_connection: int) -> Wire:
    """The wire of that name; see `NAMES`."""
    if name == "sse":
        return Sse(host, port)
    if name == "sse-h2":
        return SseHttp2(host, port, per_connection)
    return Channel(host, port, is_shared=name == "channel-one")


NAMES = ("sse", "sse-h2", "channel", "channel-one")
