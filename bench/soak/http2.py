"""A soak's client that resets some of its HTTP/2 streams and reads their neighbours on the same connection.

httpx 0.28 leaves a stream without a word to the server, so this speaks HTTP/2 itself.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.errors
import h2.events
import orjson

from bench.soak.http import CANCELLED, CHAT, COMPLETED, LONG_TOKENS, chat_body, fate_of_error
from bench.soak.ledger import Ask, Fate, Ledger


@dataclass
class _Stream:
    ask: Ask
    is_to_be_reset: bool
    status: int = 0
    body: bytes = b""
    is_over: bool = False


@dataclass
class ResettingClient:
    """One client, which opens one connection after another."""

    ledger: Ledger
    rng: random.Random
    port: int

    async def neighbours(self) -> None:
        """A few streams on one connection, of which some are reset once they have begun."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        http.initiate_connection()
        streams = {}
        for place in range(self.rng.randint(2, 5)):
            number = http.get_next_available_stream_id()
            streams[number] = self._asked(http, number, is_to_be_reset=place % 2 == 0)
        try:
            while not all(stream.is_over for stream in streams.values()):
                writer.write(http.data_to_send())
                if not (raw := await reader.read(65536)):
                    break
                for event in http.receive_data(raw):
                    self._take(http, streams, event)
            writer.write(http.data_to_send())
            await writer.drain()
        finally:
            writer.close()
        for stream in streams.values():
            self._write_down(stream)

    def _asked(self, http: h2.connection.H2Connection, number: int, *, is_to_be_reset: bool) -> _Stream:
        kind = "a stream, reset" if is_to_be_reset else "a neighbour of one that is reset"
        ask = self.ledger.ask(f"HTTP/2: {kind}", "sse")
        more = {"max_tokens": LONG_TOKENS} if is_to_be_reset else {}
        headers = {":method": "POST", ":path": CHAT, ":scheme": "http", ":authority": "127.0.0.1"}
        headers |= {"content-type": "application/json", "x-request-id": ask.id}
        http.send_headers(number, list(headers.items()))
        http.send_data(number, orjson.dumps(chat_body(self.rng, stream=True, **more)), end_stream=True)
        return _Stream(ask, is_to_be_reset)

    def _take(self, http: h2.connection.H2Connection, streams: dict[int, _Stream], event: h2.events.Event) -> None:
        number = getattr(event, "stream_id", None)
        if number is None or number not in streams:
            return
        stream = streams[number]
        if isinstance(event, h2.events.ResponseReceived):
            stream.status = int(dict(event.headers)[":status"])  # type: ignore[arg-type]  # texts, as configured
        elif isinstance(event, h2.events.DataReceived):
            http.acknowledge_received_data(event.flow_controlled_length, number)
            stream.body += event.data
            if stream.is_to_be_reset and stream.status == 200 and not stream.is_over:
                http.reset_stream(number, h2.errors.ErrorCodes.CANCEL)
                stream.is_over = True
        elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
            stream.is_over = True

    def _write_down(self, stream: _Stream) -> None:
        fates: frozenset[Fate | None] = frozenset()
        if stream.status != 200 and stream.body:
            fates = frozenset({fate_of_error(orjson.loads(stream.body)["error"]["code"])})
        elif stream.is_to_be_reset:
            self.ledger.leave(stream.ask, CANCELLED)
            return
        elif b"data: [DONE]" in stream.body:
            fates = frozenset({"failed"}) if b'data: {"error"' in stream.body else COMPLETED
        self.ledger.end(stream.ask, fates, CANCELLED if stream.is_to_be_reset else COMPLETED)
