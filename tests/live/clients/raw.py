"""HTTP/1.1 over bare sockets, for clients that behave as no library would let them."""

from __future__ import annotations

import socket
import struct
import time
from typing import Literal, Self

import orjson

Leave = Literal["reset", "close"]
LIMIT_S = 30.0


def request_bytes(path: str, body: object = None, *, method: str = "POST", headers: str = "") -> bytes:
    """One request; `body` is sent as JSON, or as it is where it is bytes. `headers` are whole lines, CRLF included."""
    raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}"
    return f"{head}Content-Length: {len(raw)}\r\n\r\n".encode("latin-1") + raw


class RawClient:
    """One connection to the server on this machine. `received` is all that came back so far."""

    def __init__(self, port: int, *, receive_buffer: int | None = None, source: str = "") -> None:
        """`source`: the address to connect from."""
        self.received = bytearray()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer is not None:
            # Before the connection, or the window has been announced already.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(LIMIT_S)
        if source:
            self._socket.bind((source, 0))
        self._socket.connect(("127.0.0.1", port))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._socket.close()

    def send(self, raw: bytes) -> None:
        self._socket.sendall(raw)

    def read_until(self, mark: bytes, count: int = 1, limit_s: float = LIMIT_S) -> bytes:
        """Read until `mark` has come `count` times; returns all that was received."""
        deadline = time.monotonic() + limit_s
        searched = 0
        while True:
            while (at := self.received.find(mark, searched)) >= 0 and count:
                searched, count = at + len(mark), count - 1
            if not count:
                return bytes(self.received)
            searched = max(searched, len(self.received) - len(mark) + 1)
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            raw = self._socket.recv(65536)
            assert raw, f"the server closed the connection before {mark!r}: {self.received[-300:]!r}"
            self.received += raw

    def read_to_end(self, limit_s: float = LIMIT_S) -> bytes:
        """Read until the server closes the connection, in whatever way; returns all that was received."""
        deadline = time.monotonic() + limit_s
        try:
            while True:
                self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
                raw = self._socket.recv(65536)
                if not raw:
                    return bytes(self.received)
                self.received += raw
        except ConnectionError:
            return bytes(self.received)

    def half_close(self) -> None:
        """Say that nothing more will be sent, and go on listening."""
        self._socket.shutdown(socket.SHUT_WR)

    def leave(self, how: Leave) -> None:
        """Go away at once: with a reset (RST), or as a process does that simply ends."""
        if how == "reset":
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


def answer_of(received: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (names in lower case) and body of the first response in `received`; its chunks are joined."""
    head, _, rest = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") != "chunked":
        return int(first.split()[1]), headers, rest[: int(headers.get("content-length", len(rest)))]
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        if int(size, 16) == 0:
            break
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return int(first.split()[1]), headers, body
