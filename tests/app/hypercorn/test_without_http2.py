"""Each fix for HTTP/2: what hypercorn does with it, and without it."""

from __future__ import annotations

import asyncio
from typing import Any

import hypercorn.protocol
import pytest
from hypercorn.events import RawData

from tests.app.hypercorn.test_http2_frames import HELLO, nothing, protocol_that_sends
from tests.app.hypercorn.without import LIMIT_S, NEVER_S, comes, is_closed, with_and_without
from tests.app.served import installed, served
from tests.fuzz.http2_frames import SETTINGS, frame
from tests.live.clients.raw_http2 import Http2Client

PART = bytes(65536)
PARTS = 40


async def breaks_off(scope: Any, receive: Any, send: Any) -> None:
    """Answers `/whole`; everything else begins and does not end."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the beginning", "more_body": True})
    if scope["path"] == "/whole":
        await send({"type": "http.response.body", "body": b" and the end"})


async def never_answers(scope: Any, receive: Any, send: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def endless(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(PARTS):
        await send({"type": "http.response.body", "body": PART, "more_body": True})


def still_answers(client: Http2Client) -> bool:
    """Whether the connection serves a further request."""
    try:
        return client.ask("/").status == 200
    except (AssertionError, OSError):
        return False


async def is_held_back(*without: str) -> bool:
    sent = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await endless(scope, receive, send)
        sent.set()

    def open_(port: int) -> Http2Client:
        client = Http2Client(port, takes=False)
        client.open("/", method="GET")
        return client

    async with served(app, without=without) as port:
        with await asyncio.to_thread(open_, port):
            return not await comes(sent)


async def test_bound_stream_buffer() -> None:
    assert await is_held_back()
    assert not await is_held_back("BoundStreamBuffer")


async def test_end_stuck_streams() -> None:
    def is_reset(port: int) -> bool:
        with Http2Client(port, takes=False) as client:
            stream = client.streams[client.open("/", method="GET")]
            try:
                client.read_until(lambda: stream.reset is not None, "the reset", NEVER_S)
            except AssertionError:
                return False
            return True

    assert await with_and_without("EndStuckStreams", is_reset, endless, send_timeout_s=0.1) == (True, False)


async def test_reset_unfinished_responses() -> None:
    def reset(port: int) -> int | None:
        with Http2Client(port) as client:
            broken = client.streams[client.open("/", method="GET")]
            client.ask("/whole")
            return broken.reset

    assert await with_and_without("ResetUnfinishedResponses", reset, breaks_off) == (2, None)


async def test_discard_late_bodies() -> None:
    def survives(port: int) -> bool:
        with Http2Client(port) as client:
            early = client.open("/", b"a", ends=False)
            client.finish(early, LIMIT_S)
            client.h2.send_data(early, b"late")
            client.flush()
            return still_answers(client)

    assert await with_and_without("DiscardLateBodies", survives) == (True, False)


async def test_refuse_bad_requests() -> None:
    def survives(port: int) -> bool:
        with Http2Client(port) as client:
            client.open("/é", method="GET")
            return still_answers(client)

    assert await with_and_without("RefuseBadRequests", survives) == (True, False)


async def test_ignore_priorities() -> None:
    def survives(port: int) -> bool:
        with Http2Client(port) as client:
            for stream_id in range(1, 3001, 2):
                client.h2.prioritize(stream_id)
            client.flush()
            return still_answers(client)

    found = await with_and_without("IgnorePriorities", survives, never=["LimitFrames"])
    assert found == (True, False)


async def test_go_idle_after_resets() -> None:
    def is_ended(port: int) -> bool:
        with Http2Client(port) as client:
            client.reset(client.open("/", method="GET"))
            return is_closed(client)

    found = await with_and_without("GoIdleAfterResets", is_ended, never_answers, keep_alive_timeout=0.1)
    assert found == (True, False)


async def test_go_idle_from_preface() -> None:
    def is_ended(port: int) -> bool:
        with Http2Client(port) as client:
            return is_closed(client)

    assert await with_and_without("GoIdleFromPreface", is_ended, keep_alive_timeout=0.1) == (True, False)


async def test_limit_frames() -> None:
    def goes_away(port: int) -> bool:
        with Http2Client(port) as client:
            for _ in range(2000):
                client.h2.ping(b"12345678")
            client.flush()
            return not still_answers(client)

    assert await with_and_without("LimitFrames", goes_away) == (True, False)


@pytest.mark.parametrize(("without", "is_bounded"), [((), True), (("BoundHeadersAndSettings",), False)])
async def test_bound_headers_and_settings(without: tuple[str, ...], is_bounded: bool) -> None:
    with installed(without):
        protocol = protocol_that_sends(nothing, kind=hypercorn.protocol.__dict__["H2Protocol"])
    await protocol.handle(RawData(data=HELLO))
    entries = b"".join((1000 + number).to_bytes(2, "big") + bytes(4) for number in range(32))
    await protocol.handle(RawData(data=frame(SETTINGS, 0, 0, entries)))
    assert (len(protocol.connection.remote_settings) < 10) is is_bounded
