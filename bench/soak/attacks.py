"""The soak's attackers: schemas that cost minutes, bodies of brackets, foreign pages, ticket hoarders, HTTP/2 floods.

Each attack is to be refused, which stands in the books as any other end does.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from bench.soak.http import CHAT, COMPLETED, REFUSED, chat_body, fate_of_error
from bench.soak.ledger import Ask, Fate, Ledger

TICKETS = "/v1/ws/tickets"
HOARD = 20
FOREIGN = "https://page.example"
FLOOD_BYTES = 20 << 20
"""After this much of a flood the server is to have ended the connection."""
FLOOD_S = 30.0
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
# Frames of SETTINGS, PING, PRIORITY and an unknown type (RFC 9113, section 6).
FLOODS = (
    bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)),
    bytes((0, 0, 8, 6, 0, 0, 0, 0, 0)) + b"12345678",
    bytes((0, 0, 5, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1)),
    bytes((0, 0, 0, 42, 0, 0, 0, 0, 0)),
)
SCHEMAS: tuple[dict[str, Any], ...] = (
    {"type": "array", "items": {"type": "integer"}, "minItems": 2**62},
    {"type": "string", "pattern": "(a+)+b"},
    {"type": "string", "pattern": "(x{1000}){1000}"},
    {"type": "string", "maxLength": 2**40},
    {"enum": [f"{number:080}" for number in range(20_000)]},
    {"$ref": "#/default", "default": {"type": "string", "pattern": "((a{0,100}){0,100}){0,100}"}},
)


@dataclass
class Attacker:
    """One client that means no good."""

    ledger: Ledger
    http: httpx.AsyncClient
    rng: random.Random
    port: int

    async def schemas(self) -> None:
        """A schema that would take the memory, or the processor, of who compiles it."""
        schema = self.rng.choice(SCHEMAS)
        wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        # Some are harmless to one backend or another, and may be followed.
        await self._post("a hostile schema", chat_body(self.rng, response_format=wanted), REFUSED | COMPLETED)

    async def brackets(self) -> None:
        """A large body that is all structure."""
        size = self.rng.choice((10_000, 1_000_000))
        raw = b'{"model":"guide","messages":' + b"[" * size + b"]" * size + b"}"
        await self._post("a body of brackets", raw, REFUSED)

    async def pages(self) -> None:
        """What a foreign web page can have a browser send."""
        headers = {"Origin": FOREIGN, "Content-Type": self.rng.choice(("application/json", "text/plain"))}
        await self._post("a foreign page", chat_body(self.rng), REFUSED, **headers)

    async def tickets(self) -> None:
        """Tickets that nobody uses."""
        for _ in range(HOARD):
            await self._post("a ticket that is hoarded", b"", COMPLETED | REFUSED, path=TICKETS)

    async def flood(self) -> None:
        """Control frames without a request, for which the server ends the connection."""
        ask = self.ledger.ask("attack: a flood of HTTP/2 frames", "http")
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        frames = self.rng.choice(FLOODS) * 1000
        sent = 0
        try:
            async with asyncio.timeout(FLOOD_S):
                writer.write(PREFACE)
                reading = asyncio.create_task(_until_it_ends(reader))
                while not reading.done():
                    if sent >= FLOOD_BYTES:
                        self.ledger.problem("a flood was taken to its end", f"{sent} bytes of {frames[:9]!r}")
                        break
                    writer.write(frames)
                    sent += len(frames)
                    await writer.drain()
                    await asyncio.sleep(0)  # Where all of it was taken at once, `drain` lets nobody else run.
                reading.cancel()
        except TimeoutError:
            self.ledger.problem("a flood was not ended", f"{sent} bytes of {frames[:9]!r} in {FLOOD_S:g} s")
        except OSError:
            pass  # It was ended while it was written.
        finally:
            writer.transport.abort()
        # There was no request in it.
        self.ledger.end(ask, {None}, {None})

    async def _post(
        self, kind: str, body: dict[str, Any] | bytes, meant: Iterable[Fate | None], *, path: str = CHAT, **headers: str
    ) -> None:
        ask: Ask = self.ledger.ask(f"attack: {kind}", "http")
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        labels = {"Content-Type": "application/json", "X-Request-Id": ask.id} | headers
        response = await self.http.post(path, content=raw, headers=labels)
        if response.status_code == 200:
            self.ledger.end(ask, COMPLETED, meant)
            return
        code = orjson.loads(response.content)["error"]["code"]
        self.ledger.end(ask, {fate_of_error(code)}, meant, f"{response.status_code} {code}")


async def _until_it_ends(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(65536):
            pass
    except OSError:
        pass
