"""What servers say to each other: one JSON object a line, over a Unix socket or TCP.

    server   {"challenge": "…"}                                   TCP only
    client   {"op": "resume", …}                                  and "proof" over TCP
    server   {"opened": {…}}  or  {"done": …}  or  {"error": {…}}  or, for a wrong proof, {"refused": true}
    server   {"events": [[name, data], …]}  or  {"silent": true}  after "opened", as often as need be
    server   {"alive": true}                                      after "opened", every few seconds
    client   {"cancel": true}                                     after "opened"
    server   {"end": {…}}

`app.relay.held` has what an API server says that asks API server 0 for what it holds.

The proof is an HMAC of the challenge and the request's line, so that only a server with the same secret is answered.
Nothing is encrypted: TCP is for a private network.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Sequence
from typing import Any

import orjson

from protocol.encoder import Event, NamedEvent
from protocol.errors import Fault, TwowireError

MAX_LINE_BYTES = 64 << 20
"""The largest line: one step's events, which may hold a whole response."""
MAX_REQUEST_BYTES = 64 << 10
BUFFER_BYTES = 256 << 10
"""The limit of a stream that reads lines, which may be longer: asyncio buffers twice as much for a slow reader."""

Message = dict[str, Any]


def encoded(message: Message) -> bytes:
    """A message as it is sent."""
    return orjson.dumps(message) + b"\n"


async def send(writer: asyncio.StreamWriter, message: Message) -> None:
    """Send a message, and wait while the other side does not read. Raises `OSError`."""
    writer.write(encoded(message))
    await writer.drain()


async def receive(reader: asyncio.StreamReader, most: int) -> Message | None:
    """The next message, of at most so many bytes; None if the other side has closed. Raises `OSError`, `ValueError`."""
    pieces: list[bytes] = []
    size = 0
    while not pieces or not pieces[-1].endswith(b"\n"):
        try:
            pieces.append(await reader.readuntil(b"\n"))
        except asyncio.LimitOverrunError as over:
            # All that is there of a line that is longer than the stream's limit.
            pieces.append(await reader.readexactly(over.consumed))
        except asyncio.IncompleteReadError:
            return None
        size += len(pieces[-1])
        if size > most:
            raise ValueError(f"a message of more than {most} bytes")
    message = orjson.loads(b"".join(pieces))
    if not isinstance(message, dict):
        raise ValueError("not a message")
    return message


def proof(secret: bytes, challenge: str, request: Message) -> str:
    """What shows that `request` comes from a server that knows `secret`."""
    said = {name: value for name, value in request.items() if name != "proof"}
    line = challenge.encode() + orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
    return hmac.digest(secret, line, "sha256").hex()


def encoded_error(error: TwowireError) -> Message:
    """An error as a message's value."""
    return {
        "fault": error.fault.name,
        "message": error.message,
        "param": error.param,
        "retry_after_s": error.retry_after_s,
    }


def decoded_error(value: Message) -> TwowireError:
    """The error of a message. Raises `KeyError` for an unknown one."""
    return TwowireError(
        Fault[value["fault"]], value["message"], param=value["param"], retry_after_s=value["retry_after_s"]
    )


def encoded_events(events: Sequence[Event]) -> list[list[str | None]]:
    """Events as a message's value."""
    return [[event.name.decode() if isinstance(event, NamedEvent) else None, bytes(event).decode()] for event in events]


def decoded_events(values: Sequence[Sequence[str | None]]) -> list[Event]:
    """The events of a message."""
    return [
        (data or "").encode() if name is None else NamedEvent(name.encode(), (data or "").encode())
        for name, data in values
    ]
