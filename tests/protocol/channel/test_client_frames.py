"""The client's frames: text in, a frame or a refusal out."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.channel import server_frames
from protocol.channel.client_frames import (
    CancelFrame,
    CreateFrame,
    FrameRefused,
    PingFrame,
    PongFrame,
    ResumeFrame,
    parse_frame,
)
from protocol.errors import Fault

CREATE = {"type": "chat.completion.create", "stream_id": "a", "body": {"model": "m"}}
RESUME = {"type": "chat.completion.resume", "stream_id": "a", "id": "chatcmpl-1", "resume_token": "t"}
CANCEL = {"type": "chat.completion.cancel", "stream_id": "a"}


def refusal(message: Any) -> FrameRefused:
    with pytest.raises(FrameRefused) as refused:
        parse_frame(json.dumps(message) if isinstance(message, dict | list) else message)
    return refused.value


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        (CREATE, CreateFrame),
        (RESUME, ResumeFrame),
        (CANCEL, CancelFrame),
        ({"type": "ping", "t": 1.5}, PingFrame),
        ({"type": "pong"}, PongFrame),
    ],
)
def test_a_frame_is_known_by_its_type_and_unknown_fields_are_ignored(fields: dict[str, Any], kind: type) -> None:
    for more in ({}, {"event_id": "e"}, {"colour": {"red": [1]}}):
        frame = parse_frame(json.dumps(fields | more))
        assert type(frame) is kind
        assert frame.event_id == more.get("event_id")


def test_a_place_in_a_stream_may_be_a_whole_float() -> None:
    frame = parse_frame(json.dumps(RESUME | {"starting_after": 4.0}))
    assert isinstance(frame, ResumeFrame)
    assert (frame.starting_after, type(frame.starting_after)) == (4, int)


@pytest.mark.parametrize("stream_id", ["a", "A-Z_0.9", "x" * 256])
def test_a_stream_id_may_be(stream_id: str) -> None:
    frame = parse_frame(json.dumps(CANCEL | {"stream_id": stream_id}))
    assert isinstance(frame, CancelFrame)
    assert frame.stream_id == stream_id


@pytest.mark.parametrize("stream_id", ["", "x" * 257, "a b", "ä", "a\n", "a/b", 1, None, ["a"], True])
def test_a_stream_id_may_not_be(stream_id: object) -> None:
    refused = refusal(CREATE | {"stream_id": stream_id})
    assert refused.error.fault.status == 400
    assert refused.error.param == "stream_id"


@pytest.mark.parametrize(
    ("frame", "param"),
    [
        (CREATE | {"body": None}, "body"),
        (CREATE | {"body": []}, "body"),
        (CREATE | {"resume": {}}, "resume.grace_s"),
        (CREATE | {"resume": {"grace_s": 0}}, "resume.grace_s"),
        (CREATE | {"resume": {"grace_s": "30"}}, "resume.grace_s"),
        (CREATE | {"resume": {"grace_s": 86_401}}, "resume.grace_s"),
        (RESUME | {"starting_after": -1}, "starting_after"),
        (RESUME | {"starting_after": 1.5}, "starting_after"),
        (RESUME | {"starting_after": 2**60}, "starting_after"),
        (RESUME | {"id": None}, "id"),
        (RESUME | {"resume_token": 1}, "resume_token"),
        (CREATE | {"event_id": "x" * 257}, "event_id"),
    ],
)
def test_a_wrong_field_is_named(frame: dict[str, Any], param: str) -> None:
    refused = refusal(frame)
    assert (refused.error.fault.status, refused.error.param) == (400, param)
    assert refused.stream_id == "a"


NO_OBJECTS: list[Any] = [None, b"", b"{}", "", " ", "{", "[]", "1", '"x"', "null", "\ud800", "\ufeff{}", "{}{}", "\x00"]
BAD_OBJECTS = ['{"a":NaN}', '{"a":1,"a":2}', '{"a":1e400}', "[" * 100_000, '{"a":' * 5000]
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize("message", NO_OBJECTS + BAD_OBJECTS)
def test_what_is_no_json_object_is_refused(message: str | bytes | None) -> None:
    refused = refusal(message)
    assert refused.error.fault is Fault.INVALID_JSON
    assert (refused.stream_id, refused.event_id) == (None, None)


@pytest.mark.parametrize("name", [None, 1, "", "chat.completion.creat", "Ping", ["ping"], {}])
def test_an_unknown_type_is_refused_with_the_known_ones(name: object) -> None:
    refused = refusal({"type": name, "stream_id": "a", "event_id": "e"})
    assert "chat.completion.create" in refused.error.message
    assert refused.event_id == "e"


@pytest.mark.parametrize("frame", [CANCEL | {"stream_id": "a", "event_id": 1}, {"type": "x", "stream_id": "a"}])
def test_only_what_asked_for_a_stream_is_refused_in_its_name(frame: dict[str, Any]) -> None:
    assert refusal(frame).stream_id is None


@given(JSON)
def test_whatever_json_comes_it_is_a_frame_or_refused(value: object) -> None:
    try:
        parse_frame(json.dumps(value))
    except FrameRefused as refused:
        server_frames.error(refused.error, refused.stream_id, refused.event_id)


@given(
    st.one_of(st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=64))
)
def test_a_pong_gives_back_what_a_ping_may_carry(t: int | float | str) -> None:
    frame = parse_frame(json.dumps({"type": "ping", "t": t}))
    assert isinstance(frame, PingFrame)
    assert orjson.loads(server_frames.pong(frame.t)) == {"type": "pong", "t": t}
