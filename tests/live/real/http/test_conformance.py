"""What the server sends, held against OpenAI's own OpenAPI document: every answer, every chunk, every error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from protocol.embeddings.embed import embedding_answer
from tests.live.servers.server import MODEL, Server, start_fake_server, stop_server
from tests.openai_document import MISSING, VALIDATOR, assert_valid, validator

if not VALIDATOR.is_file():
    pytest.skip(MISSING, allow_module_level=True)

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tell me, 안녕 🙂."}]
CHAT = {"model": MODEL, "messages": MESSAGES, "max_tokens": 12, "seed": 5}
COMPLETION = {"model": MODEL, "prompt": "Once upon", "max_tokens": 12, "seed": 5}
JSON_SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "flag", "schema": {"type": "object", "properties": {"ok": {"type": "boolean"}}}},
}

CHATS: dict[str, dict[str, Any]] = {
    "plain": {},
    "logprobs": {"logprobs": True, "top_logprobs": 3},
    "logprobs without alternatives": {"logprobs": True},
    "several choices": {"n": 3},
    "several choices with logprobs": {"n": 2, "logprobs": True, "top_logprobs": 1},
    "greedy": {"temperature": 0},
    "stopped": {"stop": [" ", "e"], "temperature": 0, "max_tokens": 200},
    "json": {"response_format": JSON_SCHEMA, "max_tokens": 60},
    "odd characters": {"temperature": 2, "logprobs": True, "max_tokens": 100},
}
COMPLETIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "logprobs": {"logprobs": 3},
    "no alternatives": {"logprobs": 0},
    "several choices": {"n": 2},
    "several prompts": {"prompt": ["Once", "Twice"]},
    "token ids": {"prompt": [[5, 6, 7], [8, 9]]},
    "echo": {"echo": True},
    "echo with logprobs": {"echo": True, "logprobs": 2},
    "echo alone": {"echo": True, "max_tokens": 0},
    "odd characters": {"temperature": 2, "logprobs": 2, "max_tokens": 100},
}
STREAM_OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "usage": {"stream_options": {"include_usage": True}},
    "obfuscation": {"stream_options": {"include_obfuscation": True}},
    "usage and obfuscation": {"stream_options": {"include_usage": True, "include_obfuscation": True}},
}


def without_first_echoed(answer: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """The answer without the logprobs of an echoed prompt's first token.

    Nothing predicts that token. OpenAI's server, and vLLM's, say null, which OpenAI's document does not provide for.
    """
    if body.get("echo"):
        for choice in answer["choices"]:
            logprobs = choice["logprobs"]
            if logprobs and logprobs["token_logprobs"] and logprobs["token_logprobs"][0] is None:
                assert logprobs["top_logprobs"][0] is None
                del logprobs["token_logprobs"][0], logprobs["top_logprobs"][0]
    return answer


def post(url: str, body: dict[str, Any], **options: Any) -> httpx.Response:
    return httpx.post(url, json=body, timeout=60, **options)


def stream_chunks(url: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    response = post(url, body | {"stream": True})
    assert response.status_code == 200, response.text
    payloads, is_done = validator().sse_data(response.text)
    assert is_done
    assert len(payloads) > 1
    return [json.loads(payload) for payload in payloads]


def test_the_validator_refuses_what_is_wrong() -> None:
    assert validator().problems("CreateChatCompletionResponse", {"id": "x", "object": "chat.completion"})
    assert validator().problems("ErrorResponse", {"error": {"message": "no"}})


@pytest.mark.parametrize("case", CHATS)
def test_a_chat_conforms_whole_and_streamed(server: Server, case: str) -> None:
    url, body = f"{server.url}/v1/chat/completions", CHAT | CHATS[case]
    whole = post(url, body)
    assert whole.status_code == 200, whole.text
    assert whole.headers["content-type"] == "application/json"
    assert_valid("CreateChatCompletionResponse", whole.json())
    assert len(whole.json()["choices"]) == CHATS[case].get("n", 1)
    for options in STREAM_OPTIONS.values():
        chunks = stream_chunks(url, body | options)
        for chunk in chunks:
            assert_valid("CreateChatCompletionStreamResponse", chunk)
        reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
        assert len([reason for reason in reasons if reason]) == CHATS[case].get("n", 1)


@pytest.mark.parametrize("case", COMPLETIONS)
def test_a_completion_conforms_whole_and_streamed(server: Server, case: str) -> None:
    url, body = f"{server.url}/v1/completions", COMPLETION | COMPLETIONS[case]
    whole = post(url, body)
    assert whole.status_code == 200, whole.text
    assert_valid("CreateCompletionResponse", without_first_echoed(whole.json(), body))
    for options in STREAM_OPTIONS.values():
        for chunk in stream_chunks(url, body | options):
            # A chunk has the shape of an answer, but for `finish_reason`, which is null until the last: OpenAI's
            # server sends that too, though its document does not say so.
            for choice in chunk["choices"]:
                choice["finish_reason"] = choice["finish_reason"] or "stop"
            if "usage" in chunk and chunk["usage"] is None:
                del chunk["usage"]
            assert_valid("CreateCompletionResponse", without_first_echoed(chunk, body))


def test_obfuscation_and_usage_stand_where_they_were_asked_for(server: Server) -> None:
    url = f"{server.url}/v1/chat/completions"
    plain = stream_chunks(url, CHAT | STREAM_OPTIONS["none"])
    assert not any("obfuscation" in chunk or "usage" in chunk for chunk in plain)
    both = stream_chunks(url, CHAT | STREAM_OPTIONS["usage and obfuscation"])
    assert all(chunk["obfuscation"] for chunk in both if chunk["choices"])
    assert [chunk["usage"] is not None for chunk in both] == [False] * (len(both) - 1) + [True]


def test_vectors_conform() -> None:
    # OpenAI's schema knows lists alone, although its service sends base64, too.
    answer = json.loads(embedding_answer("all-MiniLM-L6-v2", [b"[0.5,-1.0]", b"[2.0]"], 7))
    assert not validator().problems("CreateEmbeddingResponse", answer)


def test_models_conform(server: Server) -> None:
    listed = httpx.get(f"{server.url}/v1/models", timeout=30).json()
    assert_valid("ListModelsResponse", listed)
    assert [model["id"] for model in listed["data"]] == [MODEL]
    found = httpx.get(f"{server.url}/v1/models/{MODEL}", timeout=30).json()
    assert_valid("Model", found)
    assert found == listed["data"][0]


def assert_error(response: httpx.Response, status: int, code: str, param: str | None = None) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert_valid("ErrorResponse", body)
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["code"] == code
    assert body["error"]["param"] == param


BAD_REQUESTS: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "no messages": ({"messages": None}, "missing_required_parameter", "messages"),
    "messages of a wrong type": ({"messages": "hi"}, "invalid_type", "messages"),
    "a temperature of 3": ({"temperature": 3}, "invalid_value", "temperature"),
    "no tokens": ({"max_tokens": -1}, "invalid_value", "max_tokens"),
    "a long prompt": ({"messages": [{"role": "user", "content": "x" * 9000}]}, "context_length_exceeded", "messages"),
    "tools": (
        {"tools": [{"type": "function", "function": {"name": "f g"}}]},
        "invalid_value",
        "tools[0].function.name",
    ),
    "audio": ({"audio": {"voice": "alloy", "format": "wav"}}, "unsupported_parameter", "audio"),
    "a bad schema": (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nothing"}}}},
        "invalid_json_schema",
        "response_format",
    ),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_refused_request_gets_openais_error(server: Server, case: str, stream: bool) -> None:
    fields, code, param = BAD_REQUESTS[case]
    response = post(f"{server.url}/v1/chat/completions", CHAT | fields | {"stream": stream})
    assert_error(response, 400, code, param if param != "response_format" else response.json()["error"]["param"])
    assert str(response.json()["error"]["param"]).startswith(str(param))


def test_errors_of_routes_and_bytes_conform(server: Server) -> None:
    chat, json_type = f"{server.url}/v1/chat/completions", {"Content-Type": "application/json"}
    assert_error(post(chat, CHAT | {"model": "gpt-4o"}), 404, "model_not_found", "model")
    assert_error(httpx.get(f"{server.url}/v1/models/gpt-4o", timeout=30), 404, "model_not_found", "model")
    assert_error(httpx.get(f"{server.url}/v1/nothing", timeout=30), 404, "unknown_url")
    wrong_method = httpx.get(chat, timeout=30)
    assert_error(wrong_method, 405, "method_not_allowed")
    assert "POST" in wrong_method.headers["allow"]
    assert_error(httpx.post(chat, content=b"{", headers=json_type, timeout=30), 400, "invalid_json")
    text = {"Content-Type": "text/plain"}
    assert_error(httpx.post(chat, content=b"{}", headers=text, timeout=30), 415, "unsupported_media_type")
    huge = b" " * (16 * 1024 * 1024 + 1)
    assert_error(httpx.post(chat, content=huge, headers=json_type, timeout=60), 413, "request_too_large")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a key, whose engine never finishes loading."""
    env = {"TWOWIRE_API_KEYS": "right-key", "FAKE_LOADED": str(tmp_path_factory.mktemp("engine") / "loaded")}
    guarded = start_fake_server(ready=False, env=env)
    yield guarded
    stop_server(guarded)


def test_errors_of_keys_and_of_a_start_conform(guarded: Server) -> None:
    chat = f"{guarded.url}/v1/chat/completions"
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic abc"}):
        refused = post(chat, CHAT, headers=headers)
        assert_error(refused, 401, "invalid_api_key")
        assert refused.headers["www-authenticate"].startswith("Bearer")
    assert_error(httpx.get(f"{guarded.url}/v1/models", timeout=30), 401, "invalid_api_key")
    early = post(chat, CHAT | {"model": "guide"}, headers={"Authorization": "Bearer right-key"})
    assert_error(early, 503, "engine_not_ready")
    assert int(early.headers["retry-after"]) >= 1
