"""The soak's clients over bare sockets: those that read slowly, or nothing at all, or stop in the middle of asking."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson

from bench.soak.http import CANCELLED, CHAT, COMPLETED, LONG_TOKENS, chat_body, fate_of_error
from bench.soak.ledger import Ask, Ledger

BUFFER = 4096
STUCK_S = 13.0
"""Longer than the server's `--send-timeout-s`."""


@dataclass
class RawClient:
    """One client, which opens one connection after another."""

    ledger: Ledger
    rng: random.Random
    port: int

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[socket.socket]:
        with socket.socket() as one:
            # Before the connection, or the window has been announced already.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            one.setblocking(False)
            await asyncio.get_running_loop().sock_connect(one, ("127.0.0.1", self.port))
            yield one

    def _request(self, ask: Ask) -> tuple[bytes, bytes]:
        """Head and body of a long stream."""
        raw = orjson.dumps(chat_body(self.rng, max_tokens=LONG_TOKENS, stream=True))
        head = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nX-Request-Id: {ask.id}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
        return head.encode(), raw

    async def slow(self) -> None:
        """Reads a little at a time, from a small buffer, and then goes without a word."""
        ask = self.ledger.ask("HTTP/1.1: a slow reader", "sse")
        loop = asyncio.get_running_loop()
        async with self._connected() as one:
            await loop.sock_sendall(one, b"".join(self._request(ask)))
            received = b""
            for _ in range(self.rng.randint(10, 60)):
                if not (part := await loop.sock_recv(one, 256)):
                    break
                received += part
                await asyncio.sleep(0.05)  # Slowly: that is what it is for.
        self._gone(ask, received)

    async def stuck(self) -> None:
        """Reads the beginning, and then nothing more: the server is to cut it."""
        ask = self.ledger.ask("HTTP/1.1: a stuck reader", "sse")
        loop = asyncio.get_running_loop()
        async with self._connected() as one:
            await loop.sock_sendall(one, b"".join(self._request(ask)))
            received = await loop.sock_recv(one, 1024)
            if received.startswith(b"HTTP/1.1 200"):
                await asyncio.sleep(STUCK_S)  # What it is for.
            else:
                while part := await loop.sock_recv(one, 1024):
                    received += part
        self._gone(ask, received)

    def _gone(self, ask: Ask, received: bytes) -> None:
        meant = CANCELLED | COMPLETED
        if not received.startswith(b"HTTP/1.1 200"):
            body = orjson.loads(received.partition(b"\r\n\r\n")[2])
            self.ledger.end(ask, {fate_of_error(body["error"]["code"])}, meant)
        elif b"data: [DONE]" in received:
            self.ledger.end(ask, {"failed"} if b'data: {"error"' in received else COMPLETED, meant)
        else:
            # Where all of it went into the system's buffers, the server was done with it.
            self.ledger.leave(ask, CANCELLED)

    async def half(self) -> None:
        """Goes in the middle of its head, or of its body."""
        ask = self.ledger.ask("HTTP/1.1: half a request", "http")
        head, body = self._request(ask)
        raw = head + body
        async with self._connected() as one:
            await asyncio.get_running_loop().sock_sendall(one, raw[: self.rng.randint(1, len(raw) - 1)])
            await asyncio.sleep(self.rng.uniform(0.0, 0.2))  # So that it arrives, or not.
        # It is a request only once its head is whole.
        self.ledger.end(ask, CANCELLED | {None}, CANCELLED | {None})
