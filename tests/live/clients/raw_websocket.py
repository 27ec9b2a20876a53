"""The WebSocket protocol over bare sockets, for clients that behave as no library would let them."""

from __future__ import annotations

import struct
import time
from typing import Any, NamedTuple

import orjson

from tests.live.clients.raw import RawClient

PATH = "/v1/chat/completions"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def handshake(*headers: str, path: str = PATH, host: str = "localhost") -> bytes:
    """A client's opening handshake (RFC 6455, section 4.1); `headers` are further lines."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *headers,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def frame(
    payload: bytes | str | dict[str, Any], opcode: int = TEXT, *, is_last: bool = True, reserved: int = 0
) -> bytes:
    """A client's frame (section 5.2), masked with zeros, which leave the payload as it is."""
    if isinstance(payload, dict):
        payload = orjson.dumps(payload)
    raw = payload.encode() if isinstance(payload, str) else payload
    head = bytes([is_last << 7 | reserved << 4 | opcode])
    if len(raw) < 126:
        head += bytes([0x80 | len(raw)])
    elif len(raw) < 65536:
        head += b"\xfe" + struct.pack(">H", len(raw))
    else:
        head += b"\xff" + struct.pack(">Q", len(raw))
    return head + bytes(4) + raw


class Received(NamedTuple):
    """One frame of the server's."""

    opcode: int
    payload: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self.payload)
        return found

    @property
    def close_code(self) -> int:
        return int.from_bytes(self.payload[:2], "big")


class RawWebSocket(RawClient):
    """One WebSocket; `open` makes the handshake. Answers nothing by itself."""

    def __init__(self, port: int, *headers: str, receive_buffer: int | None = None) -> None:
        super().__init__(port, receive_buffer=receive_buffer)
        self.send(handshake(*headers))
        head = self.read_until(b"\r\n\r\n")
        self.status = int(head.split(maxsplit=2)[1])
        self.head = head[: head.index(b"\r\n\r\n") + 4].decode("latin-1")
        self._at = len(self.head)

    def say(self, payload: bytes | str | dict[str, Any], opcode: int = TEXT, **bits: Any) -> None:
        self.send(frame(payload, opcode, **bits))

    def next(self, limit_s: float = 10) -> Received | None:
        """The server's next frame; None once it has closed the connection, in whatever way."""
        deadline = time.monotonic() + limit_s
        while True:
            # Without a copy of what follows: there may be megabytes of it.
            at, there = self._at, len(self.received) - self._at
            size, start = (self.received[at + 1], 2) if there > 1 else (0, 2)
            if size == 126 and there >= 4:
                size, start = struct.unpack_from(">H", self.received, at + 2)[0], 4
            elif size == 127 and there >= 10:
                size, start = struct.unpack_from(">Q", self.received, at + 2)[0], 10
            if there >= start + size and there > 1 and not (size in (126, 127) and start == 2):
                self._at += start + size
                return Received(self.received[at] & 15, bytes(self.received[at + start : at + start + size]))
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                raw = self._socket.recv(65536)
            except ConnectionError:
                return None
            if not raw:
                return None
            self.received += raw

    def wait_for(self, kind: str, limit_s: float = 10, **fields: Any) -> dict[str, Any]:
        """The next message of that type with these fields; others are skipped."""
        deadline = time.monotonic() + limit_s
        while (got := self.next(max(deadline - time.monotonic(), 0.001))) is not None:
            if got.opcode == TEXT and got.json["type"] == kind and fields.items() <= got.json.items():
                return got.json
        raise AssertionError(f"the connection was closed before a {kind}")

    def close_code(self, limit_s: float = 10) -> int | None:
        """The code of the server's close frame; None where the connection ended without one."""
        deadline = time.monotonic() + limit_s
        while (got := self.next(max(deadline - time.monotonic(), 0.001))) is not None:
            if got.opcode == CLOSE:
                return got.close_code
        return None

    def is_cut(self, limit_s: float = 10) -> bool:
        """Whether the server ends the connection, within `limit_s`."""
        try:
            while self.next(limit_s) is not None:
                pass
        except TimeoutError:
            return False
        return True
