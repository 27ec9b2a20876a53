"""Fields that have taken down servers of this kind: each is refused by name, and nobody else notices."""

from __future__ import annotations

from typing import Any

import httpx
import psutil
import pytest

from tests.live.clients.bad import BASE, CHAT, COMPLETION, MESSAGES, Neighbour, Refusal, error_of, neighbour, refusal
from tests.live.servers.server import Server

__all__ = ["neighbour"]  # a fixture

VALUE, TYPE = "invalid_value", "invalid_type"
UNSUPPORTED, MISSING, SCHEMA = "unsupported_parameter", "missing_required_parameter", "invalid_json_schema"
CONTEXT, CONTENT = "context_length_exceeded", "unsupported_content"
SCHEMAS_MIB = 40
"""What 150 compiled schemas may add: the caches that hold them are bounded."""
BEYOND = 10**6
"""A token id that the vocabulary does not have."""


Row = tuple[str, dict[str, Any], str, str | None]
"""Path, fields, code, param."""


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def schema_format(schema: object) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}


def message(**fields: object) -> dict[str, Any]:
    return {"messages": [{"role": "user", **fields}]}


def part(**fields: object) -> dict[str, Any]:
    return message(content=[fields])


NUMBERS = ("temperature", "top_p", "min_p", "frequency_penalty", "presence_penalty", "repetition_penalty", "top_k")

GROUPS: dict[str, list[Row]] = {
    "fan-out": [
        *((CHAT, {"n": n}, VALUE, "n") for n in (0, -1, 129, 2**31, 2**62, 2**63, 10**30)),
        (COMPLETION, {"best_of": 20}, UNSUPPORTED, "best_of"),
        (COMPLETION, {"best_of": 10**6}, VALUE, "best_of"),
        (COMPLETION, {"prompt": ["x"] * 5000}, VALUE, "prompt"),
        (COMPLETION, {"prompt": ["x"] * 1000}, VALUE, "prompt"),
        (COMPLETION, {"prompt": ["x"] * 8, "n": 128}, VALUE, "prompt"),
        (COMPLETION, {"prompt": ["x"] * 1000, "n": 128}, VALUE, "n"),
    ],
    "token bounds": [
        *((CHAT, {"max_tokens": n}, VALUE, "max_tokens") for n in (0, -1, 2**31, 2**63, 10**30)),
        (CHAT, {"max_completion_tokens": 0}, VALUE, "max_completion_tokens"),
        (COMPLETION, {"max_tokens": 0}, VALUE, "max_tokens"),
        (CHAT, {"min_tokens": 5}, VALUE, "min_tokens"),
        (CHAT, {"min_tokens": 5000, "max_tokens": None}, VALUE, "min_tokens"),
        (COMPLETION, {"min_tokens": 17, "max_tokens": None}, VALUE, "min_tokens"),
        (CHAT, {"min_tokens": -1}, VALUE, "min_tokens"),
        (CHAT, message(content="word " * 20_000), CONTEXT, "messages"),
        (COMPLETION, {"prompt": "word " * 200_000}, CONTEXT, "prompt"),
        (COMPLETION, {"prompt": [5] * 5000}, CONTEXT, "prompt"),
    ],
    "numbers": [
        *((path, {name: "0.7"}, TYPE, name) for name in NUMBERS for path in (CHAT, COMPLETION)),
        *((CHAT, {name: True}, TYPE, name) for name in NUMBERS),
        *((CHAT, {name: 1e300}, VALUE, name) for name in NUMBERS),
        *((CHAT, {name: -3}, VALUE, name) for name in NUMBERS),
        (CHAT, {"top_p": -0.1}, VALUE, "top_p"),
        (CHAT, {"max_tokens": 1.5}, TYPE, "max_tokens"),
        (CHAT, {"max_tokens": "4"}, TYPE, "max_tokens"),
        (CHAT, {"seed": 2**64}, VALUE, "seed"),
        (CHAT, {"seed": 0.5}, TYPE, "seed"),
        (CHAT, {"stream_options": {"include_usage": "yes"}}, TYPE, "stream_options.include_usage"),
        (CHAT, {"logprobs": True, "top_logprobs": 21}, VALUE, "top_logprobs"),
        (CHAT, {"top_logprobs": 3}, VALUE, "top_logprobs"),
        (COMPLETION, {"logprobs": 6}, VALUE, "logprobs"),
    ],
    "token ids": [
        (CHAT, {"logit_bias": {"-1": 1}}, VALUE, "logit_bias.-1"),
        (CHAT, {"logit_bias": {str(BEYOND): 1}}, VALUE, "logit_bias"),
        (CHAT, {"logit_bias": {"9" * 30: 1}}, VALUE, "logit_bias." + "9" * 30),
        (CHAT, {"logit_bias": {"5": 101}}, VALUE, "logit_bias.5"),
        (CHAT, {"logit_bias": {"five": 1}}, VALUE, "logit_bias.five"),
        (CHAT, {"logit_bias": {str(n): 1 for n in range(5000)}}, VALUE, "logit_bias"),
        (CHAT, {"stop_token_ids": [-1]}, VALUE, "stop_token_ids[0]"),
        (CHAT, {"stop_token_ids": [5, 2**63]}, VALUE, "stop_token_ids[1]"),
        (CHAT, {"stop_token_ids": [BEYOND]}, VALUE, "stop_token_ids"),
        (CHAT, {"stop_token_ids": [BEYOND], "min_tokens": 2}, VALUE, "stop_token_ids"),
        (CHAT, {"allowed_token_ids": [-1]}, VALUE, "allowed_token_ids[0]"),
        (CHAT, {"allowed_token_ids": [BEYOND]}, VALUE, "allowed_token_ids"),
        (CHAT, {"allowed_token_ids": []}, VALUE, "allowed_token_ids"),
        (COMPLETION, {"prompt": [-1]}, VALUE, "prompt[0]"),
        (COMPLETION, {"prompt": [5, BEYOND]}, VALUE, "prompt"),
        (COMPLETION, {"prompt": [[5], [BEYOND]]}, VALUE, "prompt"),
        (COMPLETION, {"prompt": [[5], "x"]}, TYPE, "prompt[1]"),
        (COMPLETION, {"prompt": [[]]}, VALUE, "prompt[0]"),
        (COMPLETION, {"prompt": []}, VALUE, "prompt"),
        (COMPLETION, {"prompt": ""}, VALUE, "prompt"),
        (COMPLETION, {"prompt": None}, MISSING, "prompt"),
    ],
    "lists": [
        (CHAT, {"stop": ["x"] * 17}, VALUE, "stop"),
        (CHAT, {"stop": ["x"] * 100_000}, VALUE, "stop"),
        (CHAT, {"stop": ["x" * 100_000]}, VALUE, "stop[0]"),
        (CHAT, {"stop": ""}, VALUE, "stop"),
        (CHAT, {"stop": [""]}, VALUE, "stop[0]"),
        (CHAT, {"stop": 5}, TYPE, "stop"),
        (CHAT, {"bad_words": [""]}, VALUE, "bad_words[0]"),
        (CHAT, {"bad_words": ["x"] * 10_000}, VALUE, "bad_words"),
        (CHAT, {"metadata": {str(n): "x" for n in range(17)}}, VALUE, "metadata"),
        (CHAT, {"tools": [{"type": "function", "function": {"name": "f"}}] * 10_000}, VALUE, "tools"),
    ],
    "structured output": [
        (CHAT, schema_format({"type": "nothing"}), SCHEMA, "response_format.json_schema.schema"),
        (CHAT, schema_format({"type": "string", "pattern": "("}), SCHEMA, "response_format.json_schema.schema"),
        (CHAT, schema_format({"type": "string", "pattern": 5}), SCHEMA, "response_format.json_schema.schema"),
        (CHAT, schema_format({"$ref": "#/nowhere"}), SCHEMA, "response_format.json_schema.schema"),
        (CHAT, schema_format({"enum": [str(n) for n in range(20_000)]}), SCHEMA, "response_format.json_schema.schema"),
        (CHAT, schema_format({"properties": 5}), SCHEMA, "response_format.json_schema.schema"),
        (CHAT, schema_format({"title": "x" * 10**6}), SCHEMA, "response_format.json_schema.schema"),
        (CHAT, schema_format([]), TYPE, "response_format.json_schema.schema"),
        (CHAT, schema_format(nested(200)), SCHEMA, "response_format.json_schema.schema"),
        (CHAT, {"response_format": {"type": "grammar"}}, VALUE, "response_format.type"),
        (CHAT, {"response_format": {"type": "json_schema"}}, MISSING, "response_format.json_schema"),
    ],
    "chat template": [
        (CHAT, {"chat_template": "{{ 1 }}"}, "chat_template_refused", "chat_template"),
        (CHAT, {"chat_template_kwargs": {"chat_template": "{{ 1 }}"}}, "chat_template_refused", "chat_template_kwargs"),
        (CHAT, {"chat_template_kwargs": {"tokenize": True}}, "chat_template_refused", "chat_template_kwargs"),
        (CHAT, {"documents": [{"text": "x"}]}, "chat_template_refused", "documents"),
        (CHAT, {"messages": []}, VALUE, "messages"),
        (CHAT, {"messages": "hi"}, TYPE, "messages"),
        (CHAT, {"messages": ["hi"]}, TYPE, "messages[0]"),
        (CHAT, {"messages": [{"content": "hi"}]}, MISSING, "messages[0].role"),
        (CHAT, {"messages": [{"role": "root", "content": "hi"}]}, VALUE, "messages[0].role"),
        (CHAT, {"messages": [*MESSAGES, {"role": "tool", "content": "x"}]}, MISSING, "messages[1].tool_call_id"),
        (CHAT, message(content=None), MISSING, "messages[0].content"),
        (CHAT, message(content=[]), VALUE, "messages[0].content"),
        (CHAT, message(content=5), TYPE, "messages[0].content"),
        (CHAT, message(content="a\0b"), VALUE, "messages[0].content"),
        (CHAT, part(type="text"), MISSING, "messages[0].content[0].text"),
        (CHAT, part(type="text", text=None), TYPE, "messages[0].content[0].text"),
        (CHAT, {"messages": MESSAGES * 20_000}, VALUE, "messages"),
    ],
    "media": [
        *(
            (CHAT, part(type="image_url", image_url={"url": url}), CONTENT, "messages[0].content[0]")
            for url in ("http://127.0.0.1:{port}/livez", "data:image/png;base64,AAAA")
        ),
        (CHAT, part(type="image_url", image_url="file:///etc/passwd"), VALUE, "messages[0].content[0].image_url"),
        (CHAT, part(type="input_audio", input_audio={"data": "AAAA"}), CONTENT, "messages[0].content[0]"),
        *(
            (CHAT, part(type=kind, **{kind: {}}), CONTENT, "messages[0].content[0].type")
            for kind in ("video_url", "file", "image_embeds", "nonsense")
        ),
        (CHAT, {"modalities": ["audio"]}, UNSUPPORTED, "modalities"),
        (COMPLETION, {"prompt_embeds": "AAAA"}, UNSUPPORTED, "prompt_embeds"),
    ],
    "names": [
        (CHAT, {"model": "gpt-4o"}, "model_not_found", "model"),
        (CHAT, {"model": ""}, VALUE, "model"),
        (CHAT, {"model": "../guide"}, "model_not_found", "model"),
        (CHAT, {"model": None}, MISSING, "model"),
        (CHAT, {"model": 5}, TYPE, "model"),
    ],
}


@pytest.mark.parametrize("group", GROUPS)
def test_bad_fields_are_refused_by_name(
    server: Server, neighbour: Neighbour, subtests: pytest.Subtests, group: str
) -> None:
    for path, fields, code, param in GROUPS[group]:
        with subtests.test(path=path, fields=str(fields)[:100]):
            expected: Refusal = (404 if code == "model_not_found" else 400, code, param)
            assert refusal(server, path, fields) == expected


PATTERNS = ("(a+)+b", "(a|a)*b", "((a{0,30}){0,30}){0,30}", "a{100000}", "(.*.*.*)*=", "[a-z]{1,500}[0-9]{1,500}")
SCHEMAS: dict[str, dict[str, Any]] = {
    "a schema of itself": {"$ref": "#"},
    "two that need each other": {
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
        "$ref": "#/$defs/a",
    },
    "a tree": {"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": False},
    "many choices": {"anyOf": [{"type": "array", "items": {"enum": [n, str(n)]}} for n in range(500)]},
    "all of all": {"allOf": [{"anyOf": [{"type": "string"}, {"minLength": n}]} for n in range(30)]},
    "huge bounds": {"type": "string", "minLength": 10**9, "maxLength": 10**12},
    "huge arrays": {"type": "array", "minItems": 10**9, "items": {"type": "integer"}},
    "nested": nested(10),
    **{pattern: {"type": "string", "pattern": pattern} for pattern in PATTERNS},
}


def test_hostile_schemas_are_refused_or_obeyed_while_others_go_on(
    server: Server, neighbour: Neighbour, subtests: pytest.Subtests
) -> None:
    for name, schema in SCHEMAS.items():
        with subtests.test(name):
            body = BASE[CHAT] | schema_format(schema)
            answer = httpx.post(f"{server.url}{CHAT}", json=body, timeout=60)
            if answer.status_code != 200:
                error = error_of(answer)
                assert (error["code"], error["param"]) == (SCHEMA, "response_format.json_schema.schema")
            assert server.is_ready()
            assert answer.elapsed.total_seconds() < 20
            assert neighbour.longest_gap_s < 3, "others stood still meanwhile"


def test_hundreds_of_distinct_schemas_do_not_grow_the_server(server: Server, neighbour: Neighbour) -> None:
    def ask(round_: int) -> None:
        for number in range(150):
            schema = {"type": "object", "properties": {f"p{round_}_{number}_{n}": {"type": "string"} for n in range(9)}}
            body = BASE[CHAT] | {"max_tokens": 1} | schema_format(schema)
            assert client.post(CHAT, json=body).status_code == 200

    def memory() -> float:
        processes = [psutil.Process(server.process.pid), *server.engine_processes()]
        return float(sum(process.memory_info().rss for process in processes)) / 2**20

    with httpx.Client(base_url=server.url, timeout=60) as client:
        ask(0)
        before = memory()
        ask(1)
        assert memory() - before < SCHEMAS_MIB


def test_media_is_not_fetched(server: Server) -> None:
    asked = server.metric("twowire_refusals_total", reason="unsupported_content")
    url = f"{server.url}/no-such-path"
    unknown = server.metric("twowire_refusals_total", reason="unknown_url")
    body = BASE[CHAT] | part(type="image_url", image_url={"url": url})
    assert httpx.post(f"{server.url}{CHAT}", json=body, timeout=60).status_code == 400
    assert server.metric("twowire_refusals_total", reason="unsupported_content") == asked + 1
    assert server.metric("twowire_refusals_total", reason="unknown_url") == unknown, "it asked for the image"
