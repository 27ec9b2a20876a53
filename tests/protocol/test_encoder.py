"""Deltas in, bytes out: chunks, collected responses, and that both say the same."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import sse
from protocol.chat.chunks import ChatChunks
from protocol.chat.response import ChatCollector
from protocol.completions.chunks import CompletionChunks
from protocol.completions.response import CompletionCollector
from protocol.encoder import OBFUSCATION_BLOCK, ChunkEncoder, NamedEvent
from protocol.errors import Fault, TwowireError, error_bytes
from protocol.output import Delta, TokenLogprob, TopLogprob, Usage

COMMON: dict[str, Any] = {"answer_id": "x-1", "model": "m", "created": 5}
LOGPROBS = (TokenLogprob("né", -0.5, "né".encode(), (TopLogprob("né", -0.5, "né".encode()),)),)


def only(chunks: list[bytes]) -> bytes:
    (chunk,) = chunks
    return chunk


def choice(chunk: bytes) -> dict[str, Any]:
    return dict(orjson.loads(chunk)["choices"][0])


def test_a_chat_opens_with_a_role_for_every_choice() -> None:
    opening = [orjson.loads(chunk) for chunk in ChatChunks(**COMMON).opening(2, Usage())]
    assert [chunk["choices"][0]["index"] for chunk in opening] == [0, 1]
    assert all(chunk["choices"][0]["delta"]["role"] == "assistant" for chunk in opening)
    assert opening[0]["object"] == "chat.completion.chunk"
    assert CompletionChunks(**COMMON).opening(2, Usage()) == []


@pytest.mark.parametrize("encoder", [ChatChunks(**COMMON), CompletionChunks(**COMMON)])
@given(text=st.text())
def test_any_text_survives_the_splice(encoder: ChunkEncoder, text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    for index in (0, 1):
        got = choice(only(encoder.encode(Delta(index, text, 1))))
        assert got["index"] == index
        assert got.get("text", got.get("delta", {}).get("content")) == text
        assert got["finish_reason"] is None
        assert got["logprobs"] is None


def test_a_plain_text_is_encoded_as_any_other_delta() -> None:
    for encoder in (ChatChunks(**COMMON), CompletionChunks(**COMMON)):
        spliced = only(encoder.encode(Delta(0, "tëxt", 1)))
        choice = encoder._choice(Delta(0, "tëxt", 1))
        assert choice is not None
        assert spliced == encoder._head + choice + encoder._tail


@pytest.mark.parametrize("index", [0, 3])
def test_the_reason_of_a_chat_comes_alone_after_what_its_last_delta_holds(index: int) -> None:
    encoder = ChatChunks(**COMMON)
    end = {"index": index, "delta": {}, "logprobs": None}
    assert [choice(chunk) for chunk in encoder.encode(Delta(index, "", 1, "stop"))] == [end | {"finish_reason": "stop"}]
    held, last = map(choice, encoder.encode(Delta(index, "held", 1, "length")))
    assert (held["delta"], held["finish_reason"]) == ({"content": "held"}, None)
    assert last == end | {"finish_reason": "length"}


@pytest.mark.parametrize("index", [0, 3])
def test_the_reason_of_a_completion_comes_with_an_empty_text(index: int) -> None:
    encoder = CompletionChunks(**COMMON)
    end = {"index": index, "text": "", "logprobs": None}
    assert [choice(chunk) for chunk in encoder.encode(Delta(index, "", 1, "stop"))] == [end | {"finish_reason": "stop"}]
    held, last = map(choice, encoder.encode(Delta(index, "held", 1, "length")))
    assert (held["text"], held["finish_reason"]) == ("held", None)
    assert last == end | {"finish_reason": "length"}


@pytest.mark.parametrize("encoder", [ChatChunks(**COMMON), CompletionChunks(**COMMON)])
def test_the_logprobs_of_the_last_tokens_stand_beside_their_text(encoder: ChunkEncoder) -> None:
    # The second is that of an end-of-sequence token, which has a logprob and no text.
    for text in ("né", ""):
        held, last = map(choice, encoder.encode(Delta(0, text, 1, "stop", LOGPROBS)))
        assert held["logprobs"]
        assert held["finish_reason"] is None
        assert (last["logprobs"], last["finish_reason"]) == (None, "stop")
    assert len(encoder.encode(Delta(0, "", 0, "stop", ()))) == 1


def test_usage_is_null_until_the_usage_chunk_and_only_if_it_was_asked_for() -> None:
    asked = ChatChunks(**COMMON, include_usage=True)
    assert orjson.loads(only(asked.encode(Delta(0, "a", 1))))["usage"] is None
    assert orjson.loads(asked.opening(1, Usage())[0])["usage"] is None
    assert [orjson.loads(chunk)["usage"] for chunk in asked.encode(Delta(0, "a", 1, "stop"))] == [None, None]
    last = orjson.loads(only(asked.closing(Usage(3, 4, 2))))
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 7
    assert last["usage"]["prompt_tokens_details"]["cached_tokens"] == 2
    assert ChatChunks(**COMMON).closing(Usage()) == []
    assert "usage" not in orjson.loads(only(ChatChunks(**COMMON).encode(Delta(0, "a", 1))))


def test_obfuscated_chunks_tell_nothing_by_their_length() -> None:
    encoder = ChatChunks(**COMMON, include_usage=True, obfuscate=True)
    chunks = [only(encoder.encode(Delta(0, "a" * length, 1))) for length in range(20)]
    chunks += [*encoder.opening(1, Usage()), *encoder.encode(Delta(0, "a", 1, "stop")), *encoder.closing(Usage(1, 1))]
    assert {len(chunk) % OBFUSCATION_BLOCK for chunk in chunks} == {0}
    assert all(set(orjson.loads(chunk)) >= {"obfuscation", "choices"} for chunk in chunks)
    assert only(encoder.encode(Delta(0, "a", 1))) != only(encoder.encode(Delta(0, "a", 1))), "the padding is random"


def test_logprobs_in_a_chat() -> None:
    got = choice(only(ChatChunks(**COMMON).encode(Delta(0, "né", 1, None, LOGPROBS))))["logprobs"]
    entry = got["content"][0]
    assert bytes(entry["bytes"]).decode() == "né"
    assert entry["top_logprobs"][0]["logprob"] == -0.5


def test_offsets_of_a_completion_go_on_from_chunk_to_chunk_per_choice() -> None:
    encoder = CompletionChunks(**COMMON)
    offsets = [
        choice(only(encoder.encode(Delta(index, "né", 1, None, LOGPROBS))))["logprobs"]["text_offset"]
        for index in (0, 1, 0, 1)
    ]
    assert offsets == [[0], [0], [2], [2]]


@given(st.lists(st.tuples(st.integers(0, 2), st.text(max_size=5)), max_size=30))
def test_the_collected_response_is_the_stream_put_together(script: list[tuple[int, str]]) -> None:
    deltas = [Delta(index, text.encode("utf-8", "replace").decode(), 1) for index, text in script]
    encoder = ChatChunks(**COMMON)
    streamed = ["", "", ""]
    for chunk in (only(encoder.encode(delta)) for delta in deltas):
        got = choice(chunk)
        streamed[got["index"]] += got["delta"]["content"]
    for make in (ChatCollector, CompletionCollector):
        collector = make(**COMMON, choices=3)
        collector.add(deltas)
        body = orjson.loads(collector.body(Usage(1, len(deltas))))
        collected = [c.get("text", c.get("message", {}).get("content")) for c in body["choices"]]
        assert collected == streamed
        assert body["usage"]["completion_tokens"] == len(deltas)


def test_collected_logprobs_are_all_there_in_order() -> None:
    collector = ChatCollector(**COMMON, choices=1)
    collector.add([Delta(0, "né", 1, None, LOGPROBS)])
    collector.add([Delta(0, "né", 1, "stop", LOGPROBS)])
    got = orjson.loads(collector.body(Usage()))["choices"][0]
    assert len(got["logprobs"]["content"]) == 2
    assert got["finish_reason"] == "stop"


def test_events_are_framed_as_one_data_line() -> None:
    assert sse.event(b'{"a":1}') == b'data: {"a":1}\n\n'
    # Whatever the text holds, a line break inside it would end the event: JSON escapes it.
    assert sse.event(only(ChatChunks(**COMMON).encode(Delta(0, "a\nb\r\nc\u2028", 1)))).count(b"\n") == 2


def test_a_named_event_carries_its_name_and_a_number_if_it_has_one() -> None:
    named = NamedEvent(b"response.created", b"{}")
    assert sse.event(named) == b"event: response.created\ndata: {}\n\n"
    assert sse.event(named, 7) == b"id: 7\nevent: response.created\ndata: {}\n\n"
    assert sse.event(b"{}", 7) == b"id: 7\ndata: {}\n\n"


def test_an_error_has_all_four_fields() -> None:
    error = TwowireError(Fault.QUEUE_FULL, "full", retry_after_s=1)
    assert orjson.loads(error_bytes(error)) == {
        "error": {"message": "full", "type": "server_error", "param": None, "code": "queue_full"}
    }
