"""Chats over the WebSocket channel, with a socket for each or all on one.

Only as much of WebSocket is spoken as a client that reads everything needs.
"""

from __future__ import annotations

import asyncio
import base64
import os
from typing import Any, cast

import orjson

from bench.stream import BARE_END, PATH, Stream, connect

TEXT, CLOSE, WS_PING = 0x81, 0x88, 0x89
CHUNK_HEAD = b'{"type":"chat.completion.chunk","stream_id":"'


def _client_frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    # A mask of zeros changes nothing; RFC 6455, section 5.3, asks clients for some mask.
    if size < 126:
        return bytes((opcode, 0x80 | size)) + bytes(4) + payload
    if size < 65536:
        return bytes((opcode, 0x80 | 126)) + size.to_bytes(2, "big") + bytes(4) + payload
    return bytes((opcode, 0x80 | 127)) + size.to_bytes(8, "big") + bytes(4) + payload


class _Channel(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, host: str) -> None:
        self._host = host
        self._streams: dict[bytes, Stream] = {}
        self._rest = b""
        self._next_id = 0
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are not asyncio's by class.
        self.transport = cast(asyncio.Transport, transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self.transport.write(
            f"GET {PATH} HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: twowire.v1\r\n\r\n".encode()
        )

    def ask(self, body: dict[str, Any]) -> Stream:
        name, self._next_id = f"s{self._next_id}", self._next_id + 1
        stream = self._streams[name.encode()] = Stream()
        message = {"type": "chat.completion.create", "stream_id": name, "body": body}
        self.transport.write(_client_frame(TEXT, orjson.dumps(message)))
        return stream

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        position, end = 0, len(data)
        if not self._is_open:
            head, found, _ = data.partition(b"\r\n\r\n")
            if not found or not head.startswith(b"HTTP/1.1 101"):
                self._rest = data
                if found:
                    self.ready.set_exception(RuntimeError(data.decode("utf-8", "replace")[:600]))
                return
            self._is_open, position = True, len(head) + 4
        while end - position >= 2:
            start, size = position + 2, data[position + 1]
            if size == 126:
                start, size = position + 4, int.from_bytes(data[position + 2 : position + 4], "big")
            elif size == 127:
                start, size = position + 10, int.from_bytes(data[position + 2 : position + 10], "big")
            if start + size > end:
                break
            self._take(data[position], data[start : start + size])
            position = start + size
        self._rest = data[position:]

    def _take(self, opcode: int, payload: bytes) -> None:
        if payload.startswith(CHUNK_HEAD):
            if BARE_END in payload:
                return
            start = len(CHUNK_HEAD)
            self._streams[payload[start : payload.index(b'"', start)]].arrived(1)
        elif opcode == WS_PING:
            self.transport.write(_client_frame(0x8A, payload))
        elif opcode == TEXT:
            self._take_message(orjson.loads(payload))
        else:
            self.connection_lost(None)

    def _take_message(self, message: dict[str, Any]) -> None:
        kind, name = message["type"], message.get("stream_id", "").encode()
        if kind == "connection.ready":
            self.ready.set_result(None)
        elif kind == "ping":
            self.transport.write(_client_frame(TEXT, orjson.dumps({"type": "pong"})))
        elif kind == "chat.completion.done":
            self._streams.pop(name).end(None if message["status"] == "completed" else repr(message))
        elif kind == "error":
            self._streams[name].end(repr(message))

    def connection_lost(self, exc: Exception | None) -> None:
        for stream in self._streams.values():
            stream.end("the connection was lost")


class Channel:
    """The WebSocket channel: a socket for each chat that runs, or one for all of them."""

    def __init__(self, host: str, port: int, *, is_shared: bool) -> None:
        self._host, self._port, self._is_shared = host, port, is_shared
        self._connections: list[_Channel] = []

    async def open(self, slots: int, *, at_once: bool = False) -> None:
        new = [self._connection() for _ in range(1 if self._is_shared else slots)]
        self._connections = await connect(new, at_once=at_once)

    async def _connection(self) -> _Channel:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: _Channel(self._host), self._host, self._port)
        await connection.ready
        return connection

    def ask(self, slot: int, body: dict[str, Any]) -> Stream:
        return self._connections[0 if self._is_shared else slot].ask(body)

    def close(self) -> None:
        for connection in self._connections:
            connection.transport.close()
