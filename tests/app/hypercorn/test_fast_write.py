"""What the fast path writes past hypercorn, over real sockets: framed correctly, in order, and only where it may be."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import Any

import pytest

from app.hypercorn import fast_writer_of
from tests.app.channel.channels import until
from tests.app.hypercorn.without import GET, answers, status_of
from tests.app.served import served
from tests.live.clients.raw import RawClient
from tests.live.clients.raw_http2 import Http2Client
from tests.live.clients.raw_websocket import frame, handshake

LIMIT_S = 10
PARTS = [b"a", b"b" * 125, b"c" * 126, b"d" * 9000, b"e" * 70_000]


class App:
    """Sends each part by the fast path if possible, or else by hypercorn; notes which it was."""

    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts
        self.fast: list[bool] = []
        self.early: list[bool] = []
        self.has_tried = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._http(scope, send)

    async def _http(self, scope: Any, send: Any) -> None:
        writer = fast_writer_of(scope)
        if writer is not None:
            self.early.append(writer.write(b"before the headers"))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"<", "more_body": True})
        for part in self.parts:
            # Until what hypercorn was given has left: over HTTP/2, another task sends it.
            for _ in range(3):
                await asyncio.sleep(0)
            self.fast.append(writer is not None and writer.write(part))
            if not self.fast[-1]:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        self.has_tried.set()
        await send({"type": "http.response.body", "body": b">"})
        if writer is not None:
            self.early.append(writer.write(b"after the end"))

    async def _websocket(self, scope: Any, receive: Any, send: Any) -> None:
        writer = fast_writer_of(scope)
        assert writer is not None
        self.early.append(writer.write(b"before the handshake"))
        await receive()
        await send({"type": "websocket.accept"})
        for part in self.parts:
            self.fast.append(writer.write(part))
            if not self.fast[-1]:
                await send({"type": "websocket.send", "text": part.decode()})
        await send({"type": "websocket.close", "code": 1000})
        self.early.append(writer.write(b"after the close"))


async def test_http1_gets_chunks_in_order() -> None:
    def ask(port: int) -> bytes:
        with RawClient(port) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return client.read_until(b"\r\n0\r\n\r\n", limit_s=LIMIT_S)

    app = App(PARTS)
    async with served(app) as port:
        received = await asyncio.to_thread(ask, port)
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"chunked" in head
    expected = [b"<", *PARTS, b">"]
    assert body == b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in expected) + b"0\r\n\r\n"
    assert all(app.fast[:4])
    assert not any(app.early), "nothing goes out before the headers or after the end"


async def test_a_client_of_http_1_0_gets_no_chunks() -> None:
    def ask(port: int) -> bytes:
        with RawClient(port) as client:
            client.send(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return client.read_to_end(LIMIT_S)

    app = App(PARTS)
    async with served(app) as port:
        received = await asyncio.to_thread(ask, port)
    assert received.partition(b"\r\n\r\n")[2] == b"<" + b"".join(PARTS) + b">"
    assert not any(app.fast)


async def test_http2_gets_frames_in_order_and_within_its_windows() -> None:
    def ask(port: int) -> bytes:
        with Http2Client(port) as client:
            # Both at once: their frames share the connection's window.
            first, second = (client.open("/", method="GET") for _ in range(2))
            client.finish(first, LIMIT_S)
            return bytes(client.finish(second, LIMIT_S).body) + bytes(client.streams[first].body)

    app = App(PARTS)
    async with served(app) as port:
        received = await asyncio.to_thread(ask, port)
    assert received == (b"<" + b"".join(PARTS) + b">") * 2
    assert any(app.fast)
    assert not all(app.fast), "what is larger than a frame, or than the window, goes through hypercorn"
    assert not any(app.early)


async def test_a_closed_window_of_http2_takes_nothing() -> None:
    def ask(port: int) -> tuple[bytes, bytes]:
        with Http2Client(port, window=3, takes=False) as client:
            stream_id = client.open("/", method="GET")
            stream = client.streams[stream_id]
            client.read_until(lambda: len(stream.body) == 3, "what the window allows", LIMIT_S)
            assert app.has_tried.wait(LIMIT_S)
            before = bytes(stream.body)
            client.h2.increment_flow_control_window(10, stream_id)
            client.flush()
            return before, bytes(client.finish(stream_id, LIMIT_S).body)

    app = App([b"ab", b"cd", b"ef"])
    async with served(app) as port:
        before, whole = await asyncio.to_thread(ask, port)
    assert (before, whole) == (b"<ab", b"<abcdef>")
    assert app.fast == [True, False, False]


async def test_a_websocket_gets_messages_of_every_length() -> None:
    def ask(port: int) -> bytes:
        with RawClient(port) as client:
            client.send(handshake(path="/"))
            client.read_until(b"\x88\x02\x03\xe8", limit_s=LIMIT_S)
            client.send(frame(b"\x03\xe8", 8))
            return client.read_to_end(LIMIT_S)

    app = App(PARTS)
    async with served(app) as port:
        received = await asyncio.to_thread(ask, port)
    body = received.partition(b"\r\n\r\n")[2]
    for part in PARTS:
        size = len(part)
        if size < 126:
            length = bytes([size])
        else:
            length = b"\x7e" + size.to_bytes(2, "big") if size < 65536 else b"\x7f" + size.to_bytes(8, "big")
        message = b"\x81" + length + part
        assert body.startswith(message)
        body = body.removeprefix(message)
    assert body.startswith(b"\x88")
    assert all(app.fast[:4])
    assert not any(app.early)


@pytest.mark.parametrize("kind", ["http1", "http2", "websocket"])
async def test_a_client_that_does_not_read_is_left_to_hypercorn(kind: str) -> None:
    begun, refused = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"<", "more_body": True})
        writer = fast_writer_of(scope)
        assert writer is not None
        begun.set()
        written = 0
        while writer.write(bytes(8000)):
            written += 1
            await asyncio.sleep(0)
            # No more than the system's own buffers and the 64 KiB in front of them.
            assert written < 4000
        refused.set()

    def connect(port: int) -> Any:
        if kind == "http2":
            client = Http2Client(port, window=2**31 - 1, receive_buffer=4096)
            client.h2.increment_flow_control_window(2**30)
            client.open("/", method="GET")
            return client
        raw = RawClient(port, receive_buffer=4096)
        raw.send(handshake(path="/") if kind == "websocket" else b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return raw

    async with served(app) as port:
        client = await asyncio.to_thread(connect, port)
        with client:
            async with asyncio.timeout(LIMIT_S):
                await begun.wait()
                await refused.wait()


async def test_there_is_no_fast_path_without_the_fixes() -> None:
    assert fast_writer_of({"type": "http", "method": "GET", "http_version": "1.1"}) is None
    assert fast_writer_of({"type": "http", "method": "GET", "http_version": "1.1", "state": {}}) is None


async def test_what_belongs_to_a_request_goes_with_it_and_is_not_left_to_the_collector() -> None:
    streams: list[weakref.ref[Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        streams.append(weakref.ref(send.__self__))
        await answers(scope, receive, send)

    gc.disable()
    try:
        async with served(app) as port:
            assert await asyncio.to_thread(status_of(GET), port) == 200
            await until(lambda: streams[0]() is None)
    finally:
        gc.enable()
