"""What is written to a connection within a turn of the event loop leaves in one write, in order, and is never lost."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from app.hypercorn.write_buffer import GATHERED_BYTES, HIGH_WATER, GatheringWriter, WriteBuffer
from tests.app.served import served

LIMIT_S = 10


class Transport:
    """What is written to it, write by write."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.waiting = 0
        self.closing = False

    def write(self, raw: bytes) -> None:
        self.writes.append(raw)

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def is_closing(self) -> bool:
        return self.closing


async def test_what_is_written_within_a_turn_leaves_at_once() -> None:
    transport: Any = Transport()
    buffer = WriteBuffer(transport)
    assert all(buffer.try_write(b"%d" % number, b".") for number in range(3))
    buffer.write(b"whole")
    assert not transport.writes
    await asyncio.sleep(0)
    assert transport.writes == [b"0.1.2.whole"]
    await asyncio.sleep(0)
    assert buffer.try_write(b"3", b".")
    await asyncio.sleep(0)
    assert transport.writes == [b"0.1.2.whole", b"3."]


async def test_what_is_sent_now_comes_after_what_was_gathered() -> None:
    transport: Any = Transport()
    buffer = WriteBuffer(transport)
    buffer.write(b"1")
    buffer.write_now(b"2")
    assert transport.writes == [b"1", b"2"]
    await asyncio.sleep(0)
    assert transport.writes == [b"1", b"2"]


async def test_no_more_is_gathered_than_may_wait() -> None:
    transport: Any = Transport()
    buffer = WriteBuffer(transport)
    buffer.write(bytes(GATHERED_BYTES - 1))
    assert not transport.writes
    assert buffer.try_write(b"x", b"y")
    assert [len(raw) for raw in transport.writes] == [GATHERED_BYTES + 1]
    transport.waiting = HIGH_WATER + 1
    assert not buffer.try_write(b"", b"z")
    # hypercorn's way waits by itself, afterwards.
    buffer.write(b"z")
    await asyncio.sleep(0)
    assert transport.writes[1:] == [b"z"]


async def test_nothing_is_written_to_a_socket_that_closes() -> None:
    transport: Any = Transport()
    buffer = WriteBuffer(transport)
    buffer.write(b"1")
    transport.closing = True
    await asyncio.sleep(0)
    assert not transport.writes
    assert not buffer.try_write(b"2", b".")


class Writer:
    """As much of asyncio's writer as ends a connection."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.write = self.transport.write
        self.ended: list[str] = []

    def write_eof(self) -> None:
        self.ended.append("eof")
        self.transport.closing = True

    def close(self) -> None:
        self.ended.append("close")
        self.transport.closing = True


async def test_a_connection_that_is_closed_sends_what_was_gathered_first() -> None:
    for end in ("write_eof", "close"):
        inner = Writer()
        transport: Any = inner.transport
        writer = GatheringWriter(inner, WriteBuffer(transport))
        writer.write(b"last words")
        getattr(writer, end)()
        assert inner.transport.writes == [b"last words"]
        assert len(inner.ended) == 1


async def short_answer(scope: Any, receive: Any, send: Any) -> None:
    """A whole answer in one turn of the loop."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"one", "more_body": True})
    await send({"type": "http.response.body", "body": b"two"})


async def test_a_short_answer_leaves_in_one_write() -> None:
    async with served(short_answer) as port:

        def ask() -> bytes:
            with socket.create_connection(("127.0.0.1", port), LIMIT_S) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                return client.recv(65536)

        answer = await asyncio.to_thread(ask)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
