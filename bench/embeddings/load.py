"""The clients of the measurements: as cheap as asyncio can make them, so that the servers get the processor."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Self

import orjson


class Client:
    """One connection that is kept; one request at a time."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._writer.close()

    async def send(self, body: dict[str, Any]) -> bytes:
        """Send a request; the head of the answer. Fails for any status but 200."""
        raw = orjson.dumps(body)
        self._writer.write(f"{self._head}{len(raw)}\r\n\r\n".encode() + raw)
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode("latin-1") + (await self._reader.read(500)).decode())
        return head

    async def post(self, body: dict[str, Any]) -> bytes:
        """Send a request; the whole answer's body."""
        head = (await self.send(body)).lower()
        if b"content-length: " in head:
            return await self._reader.readexactly(int(head.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0]))
        received = b""
        async for chunk in self.chunks():
            received += chunk
        return received

    async def chunks(self) -> Any:
        """The parts of a chunked body, as they come."""
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)


async def chat_gaps(port: int, model: str, chats: int, seconds: float) -> list[float]:
    """The seconds between two events of a stream, of some chats that go on for some seconds."""
    gaps: list[float] = []
    stop_at = time.monotonic() + seconds
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Tell me."}],
        "max_completion_tokens": 400,
        "ignore_eos": True,
        "stream": True,
    }

    async def read() -> None:
        while time.monotonic() < stop_at:
            async with Client(port, "/v1/chat/completions") as client:
                await client.send(body)
                last = None
                async for _ in client.chunks():
                    now = time.monotonic()
                    if last is not None:
                        gaps.append(now - last)
                    last = now
                    if now > stop_at:
                        break

    await asyncio.gather(*(read() for _ in range(chats)))
    return gaps
