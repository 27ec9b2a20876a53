"""The wires of the load generator: a chat's stream over each, counted as it comes with as little work as possible.

Does not know what is measured. Only as much of HTTP/1.1, HTTP/2 and WebSocket is spoken as a client that reads
everything needs; the answers are counted, not parsed. The first chunk of a chat carries its role, the second its first
token.
"""

from __future__ import annotations

import asyncio
import base64
import os
import time
from typing import Any, Protocol, cast

import hpack
import orjson

PATH = "/v1/chat/completions"
FINISHED = b'"finish_reason":"length"'
TAIL_BYTES = 1024
"""What is kept of a stream's end, in which the reason of its end must stand."""

MAX_WINDOW = 2**31 - 1
TOKEN_CHUNK = 2
"""Which chunk of a stream is the first with a token in it."""


class Stream:
    """One answer: when it was asked for, and when its chunks came."""

    __slots__ = ("begun", "chunks", "done", "first_s", "gaps", "last")

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.chunks = 0
        self.first_s: float | None = None
        self.last = 0.0
        self.gaps: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def arrived(self, chunks: int) -> None:
        """So many chunks came at once."""
        now = time.monotonic()
        before, self.chunks = self.chunks, self.chunks + chunks
        if before >= TOKEN_CHUNK:
            self.gaps.append(now - self.last)
        elif self.chunks >= TOKEN_CHUNK:
            self.first_s = now - self.begun
        self.last = now

    def end(self, error: str | None = None) -> None:
        """The answer has ended, well or not."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(RuntimeError(error))


class Wire(Protocol):
    """A way to ask for chats. `slot` numbers those that run side by side."""

    async def open(self, slots: int) -> None:
        """Connect, for as many chats at once."""

    def ask(self, slot: int, body: dict[str, Any]) -> Stream:
        """Ask for a chat; the slot's last one has ended."""

    def close(self) -> None:
        """Disconnect."""


# -- server-sent events over HTTP/1.1 ----------------------------------------------------------------------------------


EVENT = b"\ndata: "
"""How an event begins, after the line before it; JSON has no bare line break, and comments are none."""


def _events(before: bytes, data: bytes) -> int:
    """How many events begin in `data`, or at the end of what came before it."""
    return (before[1 - len(EVENT) :] + data).count(EVENT)


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
        events = _events(self._tail, data)
        self._tail = (self._tail + data[-TAIL_BYTES:])[-TAIL_BYTES:]
        if events:
            stream.arrived(events)
        if self._tail.endswith(b"\r\n0\r\n\r\n"):
            stream.end(None if FINISHED in self._tail else self._tail.decode("utf-8", "replace"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._stream is not None:
            self._stream.end("the connection was lost")


class Sse:
    """A connection of HTTP/1.1 for each chat that runs."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._connections: list[_Http1] = []

    async def open(self, slots: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(slots):
            _, connection = await loop.create_connection(lambda: _Http1(self._host), self._host, self._port)
            self._connections.append(connection)

    def ask(self, slot: int, body: dict[str, Any]) -> Stream:
        return self._connections[slot].ask(body)

    def close(self) -> None:
        for connection in self._connections:
            connection.transport.close()


# -- server-sent events over HTTP/2 ------------------------------------------------------------------------------------

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE = 4


def _frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


class _Http2(asyncio.Protocol):
    """Prior knowledge, and windows that need no care."""

    transport: asyncio.Transport

    def __init__(self, host: str) -> None:
        self._host = host
        self._encoder, self._decoder = hpack.Encoder(), hpack.Decoder()
        self._streams: dict[int, Stream] = {}
        self._tails: dict[int, bytes] = {}
        self._next_id = 1
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are not asyncio's by class.
        self.transport = cast(asyncio.Transport, transport)
        window = INITIAL_WINDOW_SIZE.to_bytes(2, "big") + MAX_WINDOW.to_bytes(4, "big")
        more = (MAX_WINDOW - 65_535).to_bytes(4, "big")
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        self.transport.write(preface + _frame(SETTINGS, 0, 0, window) + _frame(WINDOW_UPDATE, 0, 0, more))

    def ask(self, body: dict[str, Any]) -> Stream:
        stream_id, self._next_id = self._next_id, self._next_id + 2
        stream = self._streams[stream_id] = Stream()
        self._tails[stream_id] = b"\n"
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", self._host),
            (":path", PATH),
            ("content-type", "application/json"),
        ]
        raw = orjson.dumps(body | {"stream": True})
        self.transport.write(
            _frame(HEADERS, END_HEADERS, stream_id, self._encoder.encode(headers))
            + _frame(DATA, END_STREAM, stream_id, raw)
        )
        return stream

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        position, end = 0, len(data)
        while end - position >= 9:
            start = position + 9
            stop = start + (data[position] << 16 | data[position + 1] << 8 | data[position + 2])
            if stop > end:
                break
            stream_id = int.from_bytes(data[position + 5 : start], "big")
            self._take(data[position + 3], data[position + 4], stream_id, data[start:stop])
            position = stop
        self._rest = data[position:]

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == DATA:
            self._take_body(stream_id, payload, bool(flags & END_STREAM))
        elif kind == HEADERS:
            headers = dict(self._decoder.decode(payload, raw=True))
            if headers.get(b":status", b"200") != b"200":
                self._streams[stream_id].end(repr(headers))
        elif kind == SETTINGS and not flags & ACK:
            self.transport.write(_frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self.transport.write(_frame(PING, ACK, 0, payload))
        elif kind == RST_STREAM:
            self._streams[stream_id].end("the stream was reset")
        elif kind == GOAWAY:
            self.connection_lost(None)

    def _take_body(self, stream_id: int, payload: bytes, is_last: bool) -> None:
        stream, tail = self._streams[stream_id], self._tails[stream_id]
        events = _events(tail, payload)
        tail = self._tails[stream_id] = (tail + payload[-TAIL_BYTES:])[-TAIL_BYTES:]
        if events:
            stream.arrived(events)
        if is_last:
            stream.end(None if FINISHED in tail else tail.decode("utf-8", "replace"))
            del self._streams[stream_id], self._tails[stream_id]

    def connection_lost(self, exc: Exception | None) -> None:
        for stream in self._streams.values():
            stream.end("the connection was lost")


class SseHttp2:
    """Connections of HTTP/2 with up to `per_connection` chats each."""

    def __init__(self, host: str, port: int, per_connection: int) -> None:
        self._host, self._port, self._per_connection = host, port, per_connection
        self._connections: list[_Http2] = []

    async def open(self, slots: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(-(-slots // self._per_connection)):
            _, connection = await loop.create_connection(lambda: _Http2(self._host), self._host, self._port)
            self._connections.append(connection)

    def ask(self, slot: int, body: dict[str, Any]) -> Stream:
        return self._connections[slot % len(self._connections)].ask(body)

    def close(self) -> None:
        for connection in self._connections:
            connection.transport.close()


# -- the channel -------------------------------------------------------------------------------------------------------

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

    async def open(self, slots: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(1 if self._is_shared else slots):
            _, connection = await loop.create_connection(lambda: _Channel(self._host), self._host, self._port)
            await connection.ready
            self._connections.append(connection)

    def ask(self, slot: int, body: dict[str, Any]) -> Stream:
        return self._connections[0 if self._is_shared else slot].ask(body)

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
