"""Reasoning and tool calls: deltas in, chunks and a response out, in OpenAI's shapes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from protocol.chat.chunks import ChatChunks
from protocol.chat.response import ChatCollector
from protocol.completions.chunks import CompletionChunks
from protocol.completions.response import CompletionCollector
from protocol.encoder import OBFUSCATION_BLOCK
from protocol.output import Delta, Part, TokenLogprob, ToolCallArguments, ToolCallStart, Usage
from tests.openai_document import MISSING, VALIDATOR, validator

COMMON: dict[str, Any] = {"answer_id": "chatcmpl-1", "model": "m", "created": 5}
USAGE = Usage(7, 14, 2)
LOGPROBS = (TokenLogprob("now", -0.5, b"now"),)

SCRIPT = [
    Delta(0, "Let me ", 2, part="reasoning"),
    Delta(0, "look.", 1, part="reasoning"),
    Delta(0, "One", 1),
    Delta(0, " moment.", 1),
    Delta(0, "", 3, part=ToolCallStart(0, "call_a", "weather")),
    Delta(0, '{"city": ', 2, part=ToolCallArguments(0)),
    Delta(0, '"Seoul"}', 2, part=ToolCallArguments(0)),
    Delta(0, "{", 2, part=ToolCallStart(1, "call_b", "now")),
    Delta(0, "}", 0, "tool_calls", part=ToolCallArguments(1)),
]
CALLS = [
    {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Seoul"}'}},
    {"id": "call_b", "type": "function", "function": {"name": "now", "arguments": "{}"}},
]


def chunks_of(script: list[Delta], **options: Any) -> list[bytes]:
    encoder = ChatChunks(**COMMON, **options)
    encoded = [chunk for delta in script for chunk in encoder.encode(delta)]
    return [*encoder.opening(1, USAGE), *encoded, *encoder.closing(USAGE)]


def deltas_of(chunks: list[bytes]) -> list[dict[str, Any]]:
    return [choice["delta"] for chunk in chunks for choice in orjson.loads(chunk)["choices"]]


def collected(script: list[Delta], kind: type[ChatCollector] | type[CompletionCollector]) -> dict[str, Any]:
    collector = kind(**COMMON, choices=1)
    for delta in script:
        collector.add([delta])
    return dict(orjson.loads(collector.body(USAGE)))


@pytest.mark.parametrize(
    ("part", "shown"),
    [
        (None, {"content": "t"}),
        ("reasoning", {"reasoning": "t", "reasoning_content": "t"}),
        (
            ToolCallStart(1, "call_1", "f"),
            {
                "tool_calls": [
                    {"index": 1, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "t"}}
                ]
            },
        ),
        (ToolCallArguments(1), {"tool_calls": [{"index": 1, "function": {"arguments": "t"}}]}),
    ],
)
@pytest.mark.parametrize("index", [0, 2])
def test_each_part_has_its_field(part: Part | None, shown: dict[str, Any], index: int) -> None:
    encoder = ChatChunks(**COMMON)
    (chunk,) = encoder.encode(Delta(index, "t", 1, None, LOGPROBS, part))
    (choice,) = orjson.loads(chunk)["choices"]
    assert (choice["index"], choice["delta"], choice["finish_reason"]) == (index, shown, None)
    assert choice["logprobs"]["content"][0]["token"] == "now"
    held, end = (
        orjson.loads(chunk)["choices"][0] for chunk in encoder.encode(Delta(index, "t", 1, "stop", None, part))
    )
    assert (held["delta"], held["finish_reason"]) == (shown, None)
    assert (end["delta"], end["finish_reason"]) == ({}, "stop")


def test_a_call_that_starts_with_the_last_token_is_sent_though_it_has_no_text() -> None:
    start, end = ChatChunks(**COMMON).encode(Delta(0, "", 1, "length", None, ToolCallStart(0, "call_1", "f")))
    assert deltas_of([start, end])[0]["tool_calls"][0]["function"] == {"name": "f", "arguments": ""}


def test_the_response_is_the_stream_put_together() -> None:
    (choice,) = collected(SCRIPT, ChatCollector)["choices"]
    message = choice["message"]
    assert message["content"] == "One moment."
    assert message["reasoning"] == message["reasoning_content"] == "Let me look."
    assert message["tool_calls"] == CALLS
    assert choice["finish_reason"] == "tool_calls"
    streamed = deltas_of(chunks_of(SCRIPT))
    assert "".join(delta.get("content") or "" for delta in streamed) == message["content"]
    assert "".join(delta.get("reasoning", "") for delta in streamed) == message["reasoning"]


def test_a_response_of_calls_alone_has_no_content_and_a_plain_one_has_no_calls() -> None:
    alone = collected(SCRIPT[4:], ChatCollector)["choices"][0]["message"]
    assert (alone["content"], "reasoning" in alone) == (None, False)
    plain = collected([Delta(0, "", 1, "stop")], ChatCollector)["choices"][0]["message"]
    assert plain == {"role": "assistant", "content": "", "refusal": None}


def test_openais_library_puts_the_calls_together() -> None:
    state = ChatCompletionStreamState()
    for chunk in chunks_of(SCRIPT, include_usage=True):
        state.handle_chunk(ChatCompletionChunk.model_validate_json(chunk))
    (choice,) = state.get_final_completion().choices
    calls = choice.message.tool_calls or []
    assert [(call.id, call.function.name, call.function.arguments) for call in calls] == [
        (call["id"], call["function"]["name"], call["function"]["arguments"])  # type: ignore[index]  # a dict of dicts
        for call in CALLS
    ]
    assert (choice.message.content, choice.finish_reason) == ("One moment.", "tool_calls")


def test_reasoning_and_calls_are_obfuscated_too() -> None:
    assert {len(chunk) % OBFUSCATION_BLOCK for chunk in chunks_of(SCRIPT, obfuscate=True)} == {0}


def test_a_completion_leaves_out_all_but_the_content() -> None:
    script = [Delta(0, "hm", 1, None, LOGPROBS, "reasoning"), *SCRIPT]
    encoder = CompletionChunks(**COMMON)
    encoded = [chunk for delta in script for chunk in encoder.encode(delta)]
    streamed = [orjson.loads(chunk)["choices"][0] for chunk in encoded]
    assert [choice["text"] for choice in streamed] == ["One", " moment.", ""]
    assert [choice["finish_reason"] for choice in streamed] == [None, None, "stop"]
    (choice,) = collected(script, CompletionCollector)["choices"]
    assert (choice["text"], choice["logprobs"], choice["finish_reason"]) == ("One moment.", None, "stop")


@pytest.mark.skipif(not VALIDATOR.is_file(), reason=MISSING)
def test_chunks_and_response_conform_to_openais_document() -> None:
    validate = validator()
    assert validate.problems("CreateChatCompletionResponse", {"object": "chat.completion"})
    assert validate.problems("CreateChatCompletionResponse", collected(SCRIPT, ChatCollector)) == []
    assert validate.problems("CreateCompletionResponse", collected(SCRIPT, CompletionCollector)) == []
    for options in ({}, {"include_usage": True}, {"obfuscate": True}):
        for chunk in chunks_of(SCRIPT, **options):
            assert validate.problems("CreateChatCompletionStreamResponse", orjson.loads(chunk)) == []
