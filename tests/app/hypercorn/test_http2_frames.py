"""What the frames of an HTTP/2 connection cost, and what is kept for it: bytes in, parts of them or an error out."""

from __future__ import annotations

import asyncio
from typing import Any

import h2.connection
import hpack
import pytest
from h2.config import H2Configuration
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.events import RawData
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.typing import ConnectionState

from app.hypercorn.config import ServerConfig
from app.hypercorn.fixes import Http2Protocol
from app.hypercorn.http2_frames import SMALL_DATA_BURST, SMALL_DATA_PER_S, TURN_COST, FrameError, FrameMeter
from tests.fuzz.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    PING,
    PREFACE,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
)

HELLO = PREFACE + frame(SETTINGS, 0, 0)
PONG = frame(PING, 0, 0, b"12345678")
WIDER = frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1")
SMALL = frame(DATA, 0, 1, b"x" * 100)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def meter(clock: Clock) -> FrameMeter:
    meter = FrameMeter(now=clock)
    take(meter, HELLO)
    return meter


def take(meter: FrameMeter, data: bytes) -> list[bytes]:
    return [part for part, _ in meter.slices(data)]


def test_nothing_is_lost_wherever_the_bytes_are_cut() -> None:
    data = HELLO + (PONG + SMALL + WIDER) * 100
    for size in (1, 8, 9, 10, 64, 1000, len(data)):
        meter = FrameMeter()
        parts = [part for at in range(0, len(data), size) for part in take(meter, data[at : at + size])]
        assert b"".join(parts) == data


def test_a_turn_of_the_event_loop_has_a_bounded_number_of_frames(meter: FrameMeter) -> None:
    slices = list(meter.slices(WIDER * 900))
    assert max(len(part) for part, _ in slices) <= TURN_COST * len(WIDER)
    assert all(is_turn_over for _, is_turn_over in slices[:-1])
    # Frames that come one by one add up all the same.
    assert any(is_turn_over for _ in range(TURN_COST) for _, is_turn_over in meter.slices(WIDER))


def test_requests_take_more_of_a_turn_than_small_frames(meter: FrameMeter) -> None:
    request = frame(HEADERS, END_HEADERS, 1, bytes(200))
    assert max(len(part) for part in take(meter, request * 50)) <= 16 * len(request)


@pytest.mark.parametrize("flood", [frame(SETTINGS, 0, 0), frame(RST_STREAM, 0, 1, bytes(4)), frame(DATA, 0, 1), WIDER])
def test_a_flood_is_too_much_and_the_same_in_its_time_is_not(meter: FrameMeter, clock: Clock, flood: bytes) -> None:
    for _ in range(60):
        take(meter, flood * 50)
        clock.now_s += 1
    with pytest.raises(FrameError) as caught:
        take(meter, flood * 3000)
    assert caught.value.code is ErrorCodes.ENHANCE_YOUR_CALM


def test_what_was_sent_may_be_answered_by_updates_of_windows(meter: FrameMeter) -> None:
    sent = 0
    for _ in range(100):
        # 64 streams of tokens, each in a frame of its own, which the client answers with two updates.
        sent += 64 * 150
        meter.note_sent(sent)
        take(meter, WIDER * 128)
    with pytest.raises(FrameError):
        take(meter, WIDER * 20_000)


def test_small_frames_of_a_body_are_slowed_and_not_refused(meter: FrameMeter, clock: Clock) -> None:
    take(meter, SMALL * SMALL_DATA_BURST)
    assert meter.wait_s() == 0
    take(meter, SMALL * 100)
    assert meter.wait_s() == pytest.approx(100 / SMALL_DATA_PER_S)
    clock.now_s += 1
    take(meter, frame(DATA, 0, 1, bytes(16384)) * 100)
    assert meter.wait_s() == 0


@pytest.mark.parametrize(
    ("begun", "code"),
    [
        (frame(DATA, 0, 1, length=16385), ErrorCodes.FRAME_SIZE_ERROR),
        (frame(0x2A, 0, 0, length=2**24 - 1), ErrorCodes.FRAME_SIZE_ERROR),
        (frame(PUSH_PROMISE, 0, 1, length=100), ErrorCodes.PROTOCOL_ERROR),
        (frame(SETTINGS, 0, 0, length=6 * 33), ErrorCodes.ENHANCE_YOUR_CALM),
    ],
)
def test_a_frame_is_refused_by_its_first_bytes(meter: FrameMeter, begun: bytes, code: ErrorCodes) -> None:
    with pytest.raises(FrameError) as caught:
        take(meter, begun)
    assert caught.value.code is code


@pytest.mark.parametrize("first", [PONG, frame(SETTINGS, ACK, 0)])
def test_the_first_frame_must_be_settings(first: bytes) -> None:
    with pytest.raises(FrameError) as caught:
        take(FrameMeter(), PREFACE + first)
    assert caught.value.code is ErrorCodes.PROTOCOL_ERROR


def test_the_headers_of_a_request_are_bounded_before_they_have_come(meter: FrameMeter) -> None:
    take(meter, frame(HEADERS, 0, 1, bytes(16000)) + frame(CONTINUATION, 0, 1, bytes(16000)) * 3)
    with pytest.raises(FrameError) as caught:
        take(meter, frame(CONTINUATION, 0, 1, length=16000))
    assert caught.value.code is ErrorCodes.ENHANCE_YOUR_CALM


def test_large_headers_in_one_frame_are_counted(meter: FrameMeter) -> None:
    usual, large = (frame(HEADERS, END_HEADERS, 1, bytes(size)) for size in (4096, 16384))
    take(meter, usual * 200)
    with pytest.raises(FrameError) as caught:
        take(meter, large * 50)
    assert caught.value.code is ErrorCodes.ENHANCE_YOUR_CALM


def test_it_knows_when_headers_are_under_way() -> None:
    meter = FrameMeter()
    assert not meter.is_amid_headers
    steps = [(PREFACE[:1], True), (PREFACE[1:], True), (frame(SETTINGS, 0, 0)[:5], True)]
    steps += [(frame(SETTINGS, 0, 0)[5:], False), (PONG[:12], False), (PONG[12:], False)]
    whole, part = frame(HEADERS, END_HEADERS, 1, b"\x82"), frame(HEADERS, 0, 3, b"\x82")
    steps += [(whole[:9], True), (whole[9:], False), (part, True), (frame(CONTINUATION, 0, 3), True)]
    steps += [(frame(CONTINUATION, END_HEADERS, 3), False)]
    for data, is_amid in steps:
        take(meter, data)
        assert meter.is_amid_headers is is_amid


# -- the protocol ----------------------------------------------------------------------------------------------------


async def nothing(*_: Any) -> None:
    """An app that is never asked."""


def protocol_that_sends(send: Any, kind: type[H2Protocol] = Http2Protocol, **settings: Any) -> H2Protocol:
    config = ServerConfig()
    for name, value in settings.items():
        setattr(config, name, value)
    group: Any = TaskGroup(asyncio.get_running_loop())
    return kind(nothing, config, WorkerContext(None), group, ConnectionState({}), False, None, None, send)  # type: ignore[arg-type]


async def test_others_have_their_turn_between_a_connections_frames() -> None:
    turns, seen = 0, []

    async def send(event: Any) -> None:
        seen.extend([turns] * event.data.count(b"12345678"))

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    protocol = protocol_that_sends(send)
    counting = asyncio.create_task(count_turns())
    await asyncio.sleep(0)
    await protocol.handle(RawData(data=HELLO + PONG * 400))
    counting.cancel()
    assert len(seen) == 400
    assert max(seen.count(turn) for turn in set(seen)) <= TURN_COST


async def test_what_a_client_announces_is_not_kept_for_it() -> None:
    protocol = protocol_that_sends(nothing)
    await protocol.handle(RawData(data=HELLO))
    for first in range(0, 320, 32):
        entries = ((1000 + first + number).to_bytes(2, "big") + bytes(4) for number in range(32))
        await protocol.handle(RawData(data=frame(SETTINGS, 0, 0, b"".join(entries))))
    assert len(protocol.connection.remote_settings) < 10
    await protocol.handle(RawData(data=frame(SETTINGS, 0, 0, b"\0\1\xff\xff\xff\xff")))
    encoder = protocol.connection.encoder
    for number in range(200):
        encoder.encode([(b"x-request-id", b"%d" % number * 50)])
    assert sum(len(name) + len(value) for name, value in encoder.header_table.dynamic_entries) <= 4096


async def test_a_table_that_the_client_makes_smaller_and_larger_is_still_understood() -> None:
    protocol = protocol_that_sends(nothing)
    decoder = hpack.Decoder()
    decoder.max_allowed_table_size = 2**20
    await protocol.handle(RawData(data=HELLO))
    for size in (2**20, 0, 100, 2**32 - 1, 0, 50):
        await protocol.handle(RawData(data=frame(SETTINGS, 0, 0, b"\0\1" + size.to_bytes(4, "big"))))
        for number in range(3):
            fields = [(b"x-request-id", b"%d" % number), (b"x-same", b"same")]
            assert list(decoder.decode(protocol.connection.encoder.encode(fields), raw=True)) == fields


async def test_a_thousand_headers_are_not_looked_at_one_by_one() -> None:
    protocol = protocol_that_sends(nothing, max_headers=100)
    client = h2.connection.H2Connection(H2Configuration(client_side=True))
    client.initiate_connection()
    fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")]
    client.send_headers(1, [*fields, *((f"x-{number}", "1") for number in range(1000))])
    (requested,) = [
        event
        for event in protocol.connection.receive_data(client.data_to_send())
        if isinstance(event, h2.events.RequestReceived)
    ]
    assert 100 < len(requested.headers or []) < 150
    assert SettingCodes.MAX_HEADER_LIST_SIZE in protocol.connection.local_settings
