"""Clients of the channel that mean harm: real sockets and the real hypercorn, on an engine that counts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.live.clients.abuse import (
    BEARER,
    BODY,
    CREATE,
    ENDLESS,
    FLAT_MIB,
    FLOOD,
    MESSAGE_BYTES,
    OTHER_BEARER,
    memory_mib,
    send_until_closed,
)
from tests.live.clients.raw import RawClient
from tests.live.clients.raw_websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawWebSocket,
    frame,
    handshake,
)
from tests.live.servers.server import Server

# -- frames ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "opcode"),
    [(b"\x00\xff", BINARY), (b"", BINARY), (b"", TEXT), (b"nonsense", TEXT), (b'{"type":"huh","stream_id":"a"}', TEXT)],
    ids=["binary", "empty binary", "empty", "no JSON", "unknown type"],
)
def test_a_frame_that_makes_no_sense_is_an_error_and_not_the_end(server: Server, payload: bytes, opcode: int) -> None:
    with RawWebSocket(server.port, BEARER) as ws:
        ws.say({"type": CREATE, "stream_id": "a", "body": BODY})
        ws.wait_for("chat.completion.chunk")
        ws.say(payload, opcode)
        assert ws.wait_for("error")["status"] == 400
        ws.wait_for("chat.completion.chunk", stream_id="a")


def test_a_stream_id_that_is_in_use_is_refused(server: Server) -> None:
    with RawWebSocket(server.port, BEARER) as ws:
        for event in ("e1", "e2"):
            ws.say({"type": CREATE, "stream_id": "a", "event_id": event, "body": BODY})
        error = ws.wait_for("error")
        assert (error["event_id"], error["status"], error["error"]["param"]) == ("e2", 400, "stream_id")
        ws.wait_for("chat.completion.chunk", stream_id="a")


BROKEN_FRAMES: dict[str, tuple[int, bytes]] = {
    # RFC 6455: 5.1 (masked), 5.2 (bits, opcodes, lengths), 5.4 (fragments), 5.5 (control frames), 7.4, 8.1 (UTF-8).
    "unmasked": (1002, b"\x81\x02hi"),
    "unmasked and empty": (1002, b"\x81\x00"),
    "unmasked close": (1002, b"\x88\x02\x03\xe8"),
    "reserved bit 1": (1002, frame(b"x", reserved=4)),
    "reserved bit 2": (1002, frame(b"x", reserved=2)),
    "reserved bit 3 of a ping": (1002, frame(b"x", PING, reserved=1)),
    "reserved opcode": (1002, frame(b"x", 3)),
    "reserved opcode of a control frame": (1002, frame(b"", 15)),
    "a length in two bytes that needs one": (1002, b"\x81\xfe\x00\x05" + bytes(4) + b"hello"),
    "a length in eight bytes that needs one": (1002, b"\x81\xff" + (5).to_bytes(8, "big") + bytes(4) + b"hello"),
    "a length of 2^64 - 1": (1002, b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
    "continues nothing": (1002, frame(b"x", CONTINUATION)),
    "a message within a message": (1002, frame(b"x", is_last=False) + frame(b"y")),
    "long ping": (1002, frame(b"x" * 126, PING)),
    "long pong": (1002, frame(b"x" * 126, PONG)),
    "fragmented ping": (1002, frame(b"x", PING, is_last=False)),
    "fragmented close": (1002, frame(b"\x03\xe8", CLOSE, is_last=False)),
    "close of one byte": (1002, frame(b"\x03", CLOSE)),
    "long close": (1002, frame(b"\x03\xe8" + b"x" * 124, CLOSE)),
    "HTTP": (1002, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "not UTF-8": (1007, frame(b'{"type":"\xff\xfe"}')),
    "a surrogate": (1007, frame(b'{"type":"\xed\xa0\x80"}')),
    "half a character": (1007, frame(b'{"type":"\xf0\x9f')),
    "not UTF-8 in the second fragment": (1007, frame(b"\xe2\x82", is_last=False) + frame(b"x", CONTINUATION)),
    "a close whose reason is not UTF-8": (1007, frame(b"\x03\xe8\xff", CLOSE)),
    **{
        f"close with {code}": (1002, frame(code.to_bytes(2, "big"), CLOSE))
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
    },
}


def test_a_frame_that_may_not_be_is_answered_with_a_close(server: Server, subtests: pytest.Subtests) -> None:
    for name, (code, raw) in BROKEN_FRAMES.items():
        with subtests.test(name), RawWebSocket(server.port, BEARER) as ws:
            ws.say({"type": CREATE, "stream_id": "a", "body": BODY})
            ws.wait_for("chat.completion.created")
            ws.send(raw + frame({"type": "ping", "t": "behind it"}))
            assert ws.close_code() == code
            assert ws.is_cut(5)
            assert b"behind it" not in ws.received


def test_a_close_is_answered_with_its_code(server: Server, subtests: pytest.Subtests) -> None:
    for code in (0, 1000, 1001, 1011, 3000, 4999):
        with subtests.test(code=code), RawWebSocket(server.port, BEARER) as ws:
            ws.wait_for("connection.ready")
            ws.say(code.to_bytes(2, "big") + b"bye" if code else b"", CLOSE)
            assert ws.close_code() == code
            assert ws.is_cut(5)


def test_a_client_that_broke_the_protocol_and_stays_is_cut(server: Server) -> None:
    with RawWebSocket(server.port, BEARER) as ws:
        ws.say(b"x", 3)
        assert ws.close_code() == 1002
        assert send_until_closed(ws, b"", FLOOD, ENDLESS) < 64 * MESSAGE_BYTES


def test_ten_thousand_empty_fragments_in_one_packet_hold_up_nobody(server: Server) -> None:
    with RawWebSocket(server.port, BEARER) as ws:
        ws.wait_for("connection.ready")
        ws.say("{", TEXT, is_last=False)
        ws.send(frame(b"", CONTINUATION, is_last=False) * 10_000)
        ws.say('"type":"ping","t":1}', CONTINUATION)
        ws.wait_for("pong", t=1)


def test_pings_of_the_protocol_are_answered_between_fragments(server: Server) -> None:
    with RawWebSocket(server.port, BEARER) as ws:
        ws.wait_for("connection.ready")
        ws.say('{"type":', TEXT, is_last=False)
        ws.say(b"x", PING)
        got = ws.next()
        assert got is not None
        assert (got.opcode, got.payload) == (PONG, b"x")
        ws.say('"ping","t":1}', CONTINUATION)
        ws.wait_for("pong", t=1)


def test_a_message_over_the_limit_is_a_1009_and_memory_stays_flat(server: Server) -> None:
    with RawWebSocket(server.port, BEARER) as ws:
        ws.say('{"type":"ping","x":"' + "x" * (MESSAGE_BYTES - 100) + '"}')
        ws.wait_for("pong")
    before = memory_mib(server)
    for _ in range(3):
        with RawWebSocket(server.port, BEARER) as ws:
            ws.wait_for("connection.ready")
            head = b"\x81\xff" + (64 * MESSAGE_BYTES).to_bytes(8, "big") + bytes(4)
            assert send_until_closed(ws, head, b"x" * 65536, 64 * MESSAGE_BYTES) < 16 * MESSAGE_BYTES
            assert ws.close_code() == 1009
            assert ws.is_cut(5)
    assert memory_mib(server) - before < FLAT_MIB


def test_characters_of_many_bytes_count_as_bytes(server: Server) -> None:
    with RawWebSocket(server.port, BEARER) as ws:
        ws.wait_for("connection.ready")
        ws.say("\U0001f600" * (MESSAGE_BYTES // 4 + 1))
        assert ws.close_code() == 1009


def test_fragments_without_end_are_a_1009_and_memory_stays_flat(server: Server) -> None:
    before = memory_mib(server)
    for size in (16, 4096):
        with RawWebSocket(server.port, BEARER) as ws:
            ws.wait_for("connection.ready")
            ws.say("{", TEXT, is_last=False)
            part = frame(b" " * size, CONTINUATION, is_last=False) * (65536 // size)
            sent = send_until_closed(ws, b"", part, 64 * MESSAGE_BYTES)
            assert sent < 16 * MESSAGE_BYTES
            assert ws.close_code() == 1009
    assert memory_mib(server) - before < FLAT_MIB


def test_compression_is_not_negotiated(server: Server) -> None:
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
    with RawWebSocket(server.port, BEARER, offer) as ws:
        assert ws.status == 101
        assert "extensions" not in ws.head.lower()
        ready = ws.next()
        assert ready is not None
        assert ready.json["type"] == "connection.ready"


# -- floods ----------------------------------------------------------------------------------------------------------


def test_a_flood_of_messages_is_a_1008_and_leaves_nothing(server: Server) -> None:
    for _ in range(3):
        with RawWebSocket(server.port, BEARER) as ws:
            send_until_closed(ws, b"", FLOOD, len(FLOOD) * 5)
            assert ws.close_code() == 1008
            assert send_until_closed(ws, b"", FLOOD, ENDLESS) < ENDLESS


def test_a_flood_of_creates_and_cancels_is_answered_one_by_one(server: Server) -> None:
    rounds = 150
    with RawWebSocket(server.port, BEARER) as ws:
        ws.wait_for("connection.ready")
        for number in range(rounds):
            ws.say({"type": CREATE, "stream_id": f"s{number}", "event_id": f"e{number}", "body": BODY})
            ws.say({"type": "chat.completion.cancel", "stream_id": f"s{number}"})
        ends: set[str] = set()
        while len(ends) < rounds:
            got = ws.next()
            assert got is not None
            assert got.opcode == TEXT, got
            name = got.json.get("stream_id", "")
            if got.json["type"] == "chat.completion.done" or (got.json["type"] == "error" and name):
                assert name not in ends
                ends.add(name)
        ws.say({"type": "ping"})
        ws.wait_for("pong")
    server.wait_until(lambda: server.metric("twowire_sequences_in_engine") == 1, 5, "the bystander's alone")


def test_more_creates_than_places_are_refused_one_by_one(server: Server) -> None:
    with RawWebSocket(server.port, BEARER) as ws:
        limits = ws.wait_for("connection.ready")["limits"]
        places = limits["max_running"] + limits["max_waiting"]
        for number in range(places + 20):
            ws.say({"type": CREATE, "stream_id": f"s{number}", "body": BODY})
        errors = [ws.wait_for("error") for _ in range(20)]
        assert {error["error"]["code"] for error in errors} == {"too_many_streams"}
        assert {error["stream_id"] for error in errors} == {f"s{number}" for number in range(places, places + 20)}
        running = server.metric("twowire_sequences_in_engine") - 1
        assert running == limits["max_running"]


def test_handshakes_that_come_and_go_leave_nothing(server: Server) -> None:
    def visit(number: int) -> None:
        with RawClient(server.port) as client:
            client.send(handshake(BEARER if number % 2 else OTHER_BEARER))
            if number % 3:
                client.read_until(b"\r\n\r\n")
            client.leave("reset" if number % 5 else "close")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(visit, range(200)))


def test_a_half_closed_socket_is_gone(server: Server) -> None:
    with RawWebSocket(server.port, BEARER) as ws:
        ws.say({"type": CREATE, "stream_id": "a", "body": BODY})
        ws.wait_for("chat.completion.chunk")
        ws.half_close()
        assert ws.is_cut(5)
    server.wait_until(lambda: server.metric("twowire_sequences_in_engine") == 1, 5, "the bystander's alone")


def test_pings_of_the_protocol_that_are_not_read_fill_no_memory(server: Server) -> None:
    before = memory_mib(server)
    with RawWebSocket(server.port, BEARER, receive_buffer=4096) as ws:
        ws._socket.settimeout(1)
        sent = send_until_closed(ws, b"", frame(b"x" * 125, PING) * 500, 64 * MESSAGE_BYTES)
        assert sent < 64 * MESSAGE_BYTES, "it answered pings into nowhere"
        assert memory_mib(server) - before < FLAT_MIB
        ws.leave("reset")
