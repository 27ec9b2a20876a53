"""Chats over HTTP/2, as server-sent events, many on a connection.

Only as much of HTTP/2 is spoken as a client that reads everything needs.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import hpack
import orjson

from bench.stream import PATH, TAIL_BYTES, Stream, connect, events_in

MAX_WINDOW = 2**31 - 1
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
        events = events_in(tail, payload)
        tail = self._tails[stream_id] = (tail + payload[-TAIL_BYTES:])[-TAIL_BYTES:]
        if events:
            stream.arrived(events)
        if is_last:
            stream.finish(tail)
            del self._streams[stream_id], self._tails[stream_id]

    def connection_lost(self, exc: Exception | None) -> None:
        for stream in self._streams.values():
            stream.end("the connection was lost")


class SseHttp2:
    """Connections of HTTP/2 with up to `per_connection` chats each."""

    def __init__(self, host: str, port: int, per_connection: int) -> None:
        self._host, self._port, self._per_connection = host, port, per_connection
        self._connections: list[_Http2] = []

    async def open(self, slots: int, *, at_once: bool = False) -> None:
        loop, count = asyncio.get_running_loop(), -(-slots // self._per_connection)
        new = [loop.create_connection(lambda: _Http2(self._host), self._host, self._port) for _ in range(count)]
        self._connections = [connection for _, connection in await connect(new, at_once=at_once)]

    def ask(self, slot: int, body: dict[str, Any]) -> Stream:
        return self._connections[slot % len(self._connections)].ask(body)

    def close(self) -> None:
        for connection in self._connections:
            connection.transport.close()
