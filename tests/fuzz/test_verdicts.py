"""What the fuzz job takes for a fault of the server, and what not."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import hpack
import pytest

from tests.fuzz.bodies import requests, spliced
from tests.fuzz.cases import Case, load
from tests.fuzz.connections import Played
from tests.fuzz.requests import BASES, CHAT_PATH, MADE, SEQUENCES, posted
from tests.fuzz.verdicts import complaints, statuses


def received(raw: bytes, sent: bytes = b"", **more: Any) -> Played:
    return Played([sent], bytearray(raw), **more)


def answer(status: int, body: bytes = b"{}") -> bytes:
    return b"HTTP/1.1 %d \r\ncontent-type: application/json\r\n\r\n" % status + body


def error(code: str) -> bytes:
    return b'{"error":{"message":"m","type":"t","param":null,"code":"%s"}}' % code.encode()


def frame(kind: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, 4)) + bytes(4) + payload


@pytest.mark.parametrize("status", [200, 400, 404, 431, 501, 505])
def test_a_clients_fault_is_none_of_the_servers(status: int) -> None:
    assert complaints("http1", received(answer(200) + answer(status, error("invalid_json")))) == []


@pytest.mark.parametrize(
    ("status", "code"), [(500, "other"), (502, "queue_full"), (503, "server_draining"), (504, "x")]
)
def test_a_servers_fault_is_found_behind_other_answers(status: int, code: str) -> None:
    played = received(answer(200) + answer(status, error(code)) + answer(400))
    assert statuses(played) == [200, status, 400]
    assert complaints("http1", played) == [f"status {status} {code}"]


def test_a_full_queue_is_as_documented() -> None:
    assert complaints("bodies", received(answer(503, error("queue_full")))) == []


def test_an_error_within_a_stream_is_found() -> None:
    stream = b"data: {}\n\ndata: " + error("internal_error") + b"\n\n"
    assert complaints("bodies", received(answer(200, stream))) == ['the answer says "code":"internal_error"']


def test_http2_statuses_and_goaways_are_read() -> None:
    encoder = hpack.Encoder()
    heads = [frame(1, encoder.encode([(":status", status)])) for status in ("200", "500")]
    played = received(frame(4, b"") + b"".join(heads) + frame(7, bytes(7) + b"\x02"))
    assert statuses(played) == [200, 500]
    assert complaints("http2", played) == ["status 500 ", "GOAWAY with INTERNAL_ERROR"]


def test_a_websocket_ends_with_a_close_frame() -> None:
    begun = b"HTTP/1.1 101 \r\nupgrade: websocket\r\n\r\n\x81\x02{}"
    assert complaints("websocket", received(begun, is_closed_early=True)) == ["no close frame"]
    assert complaints("websocket", received(begun)) == [], "it was the client that cut it"
    for close, found in (
        (b"\x03\xea", []),
        (b"\x03\xf3bye", []),
        (b"\x03\xf3the server failed", ["closed with 1011: the server failed"]),
    ):
        played = received(begun + bytes((0x88, len(close))) + close, is_closed_early=True)
        assert complaints("websocket", played) == found


def test_silence_is_found() -> None:
    assert complaints("http1", received(b"", has_hung=True)) == ["it hung"]


@pytest.mark.parametrize(
    ("content", "finish_reason", "found"),
    [
        ('{"a":1}', "stop", []),
        ('{"a":"x"}', "stop", ["the answer is not what its schema allows"]),
        ('{"a":', "stop", ["the answer to a schema is no JSON"]),
        ('{"a":', "length", []),
    ],
)
def test_an_answer_is_held_against_its_schema(content: str, finish_reason: str, found: list[str]) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    asked = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}
    choice = {"finish_reason": finish_reason, "message": {"content": content}}
    told = answer(200, json.dumps({"choices": [choice]}).encode())
    assert complaints("schemas", received(told, posted(CHAT_PATH, json.dumps(asked).encode()))) == found


@pytest.mark.parametrize("kind", SEQUENCES)
def test_the_same_seed_makes_the_same_connection(kind: str) -> None:
    first, again = (b"".join(SEQUENCES[kind](random.Random(f"{kind}-7"))) for _ in range(2))
    assert first == again
    assert first


@pytest.mark.parametrize("kind", MADE)
def test_the_same_seed_makes_the_same_requests(kind: str) -> None:
    first, again = (list(itertools.islice(requests(kind, 5), 15)) for _ in range(2))
    assert first == again
    assert {path for path, _ in first} <= BASES.keys()
    assert len({body for _, body in first}) > 10


def test_bodies_are_put_into_requests_that_are_right_and_stay_cheap() -> None:
    body = {"temperature": [], "max_tokens": 10**6, "n": 100, "x": None}
    made = [spliced(random.Random(seed), CHAT_PATH, dict(body)) for seed in range(50)]
    assert any("messages" in one for one in made)
    assert {name for one in made for name in one} >= {"temperature", "x"}
    assert all(one.get("n", 1) <= 2 and one["max_tokens"] <= 8 for one in made)


def test_a_case_can_be_kept_and_played_again(tmp_path: Path) -> None:
    case = Case("http1", "http1-1-2", "eof", [b"GET /\xff", b""], ["it hung"])
    again = load(case.save(tmp_path / "new"))
    assert (again.kind, again.name, again.ending, again.sent) == (case.kind, case.name, case.ending, case.sent)
