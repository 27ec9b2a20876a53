"""The server's frames: what is said in, bytes out."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from protocol.channel import server_frames
from protocol.chat.chunks import ChatChunks
from protocol.errors import Fault, TwowireError
from protocol.output import Delta, Usage


@given(text=st.text(), seq=st.integers(1, 2**53), stream_id=st.from_regex(r"\A[A-Za-z0-9_.-]{1,256}\Z"))
def test_a_chunk_frame_is_json_and_ends_with_the_chunks_own_bytes(text: str, seq: int, stream_id: str) -> None:
    (chunk,) = ChatChunks(answer_id="chatcmpl-1", model="m", created=1).encode(Delta(0, text, 1))
    raw = server_frames.chunk(server_frames.chunk_head(stream_id), seq, chunk)
    assert raw.endswith(b',"data":' + chunk + b"}")
    frame = orjson.loads(raw)
    assert list(frame) == ["type", "stream_id", "seq", "data"]
    assert (frame["type"], frame["stream_id"], frame["seq"]) == ("chat.completion.chunk", stream_id, seq)
    assert frame["data"] == orjson.loads(chunk)


def test_what_the_server_says() -> None:
    assert orjson.loads(server_frames.created("a", "e", "chatcmpl-1", "t")) == {
        "type": "chat.completion.created",
        "stream_id": "a",
        "event_id": "e",
        "id": "chatcmpl-1",
        "resume_token": "t",
    }
    assert "resume_token" not in orjson.loads(server_frames.created("a", None, "chatcmpl-1", None))
    assert orjson.loads(server_frames.resumed("a", None, 42, 50)) == {
        "type": "chat.completion.resumed",
        "stream_id": "a",
        "first_seq": 42,
        "last_seq": 50,
    }
    done = orjson.loads(server_frames.done("a", 57, "cancelled", Usage(3, 4, 2)))
    assert done == {
        "type": "chat.completion.done",
        "stream_id": "a",
        "seq": 57,
        "status": "cancelled",
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 4,
            "total_tokens": 7,
            "prompt_tokens_details": {"cached_tokens": 2},
        },
    }


def test_an_error_carries_what_http_would_say() -> None:
    fault = TwowireError(Fault.QUEUE_FULL, "full", param="n", retry_after_s=2)
    assert orjson.loads(server_frames.error(fault, "a", "e")) == {
        "type": "error",
        "stream_id": "a",
        "event_id": "e",
        "status": 503,
        "retry_after_s": 2,
        "error": {"message": "full", "type": "server_error", "param": "n", "code": "queue_full"},
    }
    assert sorted(orjson.loads(server_frames.error(TwowireError(Fault.INTERNAL, "x")))) == ["error", "status", "type"]
