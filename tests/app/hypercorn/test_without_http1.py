"""Each fix for HTTP/1.1 and WebSockets: what hypercorn does with it, and without it.

`DropUnreadMessages` is in `tests/live/fake/channel/test_channel_end.py`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tests.app.hypercorn.without import GET, HOST, LIMIT_S, comes, head_of, is_closed, status_of, with_and_without
from tests.app.served import served
from tests.live.clients.raw import RawClient
from tests.live.clients.raw_websocket import RawWebSocket, frame, handshake

UPGRADE = (
    b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\r\n"
)
TWO_LENGTHS = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
NO_BODY_YET = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\n"


async def test_skip_empty_lines() -> None:
    assert await with_and_without("SkipEmptyLines", status_of(b"\r\n\r\n" + GET)) == (200, 400)


async def test_allow_missing_host() -> None:
    assert await with_and_without("allow_missing_host", status_of(b"GET / HTTP/1.1\r\n\r\n")) == (200, 400)


async def test_refuse_bad_targets() -> None:
    raw = b"GET no-slash HTTP/1.1\r\n" + HOST + b"\r\n"
    assert await with_and_without("RefuseBadTargets", status_of(raw)) == (400, 200)


async def test_explain_refusals() -> None:
    def body(port: int) -> bytes:
        with RawClient(port) as client:
            client.send(b"GET / HTTP/1.1\r\nno colon\r\n\r\n")
            return client.read_to_end(LIMIT_S).partition(b"\r\n\r\n")[2]

    explained, empty = await with_and_without("ExplainRefusals", body)
    assert b"malformed_request" in explained
    assert empty == b""


async def test_close_after_two_lengths() -> None:
    closed, open_ = await with_and_without("CloseAfterTwoLengths", head_of(TWO_LENGTHS), never=["AnnounceClose"])
    assert b"connection: close" in closed
    assert b"connection: close" not in open_


async def test_announce_close() -> None:
    announced, silent = await with_and_without("AnnounceClose", head_of(NO_BODY_YET))
    assert b"connection: close" in announced
    assert b"connection: close" not in silent


async def test_ignore_h2c_upgrade() -> None:
    assert await with_and_without("IgnoreH2cUpgrade", status_of(UPGRADE)) == (200, 101)


async def test_limit_header_time() -> None:
    def is_ended(port: int) -> bool:
        with RawClient(port) as client:
            client.send(GET[:-2])
            return is_closed(client)

    assert await with_and_without("LimitHeaderTime", is_ended, header_timeout_s=0.1) == (True, False)


async def notices_a_client_that_left(*without: str) -> bool:
    began, gone = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        began.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    async with served(app, without=without) as port:
        with RawClient(port) as client:
            client.send(GET + GET)
            async with asyncio.timeout(LIMIT_S):
                await began.wait()
        return await comes(gone)


async def test_read_while_responding() -> None:
    assert await notices_a_client_that_left()
    assert not await notices_a_client_that_left("ReadWhileResponding")


# -- WebSocket -------------------------------------------------------------------------------------------------------


async def test_join_connection_headers() -> None:
    raw = handshake("Connection: keep-alive")
    assert await with_and_without("JoinConnectionHeaders", status_of(raw)) == (101, 200)


async def test_let_app_check_handshake() -> None:
    raw = handshake().replace(b"Sec-WebSocket-Version: 13\r\n", b"")
    assert await with_and_without("LetAppCheckHandshake", status_of(raw)) == (101, 400)


async def test_refuse_extensions() -> None:
    raw = handshake("Sec-WebSocket-Extensions: permessage-deflate")
    plain, compressed = await with_and_without("RefuseExtensions", head_of(raw))
    assert b"permessage-deflate" not in plain
    assert b"permessage-deflate" in compressed


async def test_hold_early_frames() -> None:
    assert await with_and_without("HoldEarlyFrames", status_of(handshake() + frame("early"))) == (101, 400)


async def test_close_with_code() -> None:
    def code(port: int) -> int | None:
        with RawWebSocket(port) as client:
            client.say("reserved bits", reserved=4)
            return client.close_code(LIMIT_S)

    assert await with_and_without("CloseWithCode", code) == (1002, None)
