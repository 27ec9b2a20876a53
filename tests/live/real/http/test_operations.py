"""What an operator sees: figures, log lines, labels, pages. On the shared server, which logs JSON."""

from __future__ import annotations

import itertools
import json
import re
import uuid
from typing import Any

import httpx
import pytest

from app.version import installed_version
from tests.live.servers.server import MODEL, Server
from tests.queries import OF_PROMETHEUS, names, queries, selectors

CHAT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Tell me."}], "max_tokens": 9}
WIRES = {"http": False, "sse": True}


def chat(server: Server, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/chat/completions", json=CHAT | fields, headers=headers, timeout=60)


def log_lines(server: Server, request_id: str) -> list[dict[str, Any]]:
    """The access log's lines for a request, once there is one: it is written when the answer has been sent."""

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in list(server.log) if line.startswith("{") and request_id in line]

    server.wait_until(lambda: lines() != [], 5, f"no log line for {request_id}")
    return lines()


def test_a_start_writes_nothing_but_lines_of_the_servers_own(server: Server) -> None:
    start = itertools.takewhile(lambda line: not line.startswith("twowire: ready:"), list(server.log))
    assert [line for line in start if not line.startswith(("{", "twowire: listening on "))] == []


def test_metrics_hold_vllms_own_and_ours(server: Server) -> None:
    response = httpx.get(f"{server.url}/metrics", timeout=30)
    assert response.headers["content-type"].startswith("text/plain; version=")
    names = set(re.findall(r"^# TYPE (\S+)", response.text, re.MULTILINE))
    assert {"vllm:num_requests_running", "vllm:kv_cache_usage_perc", "vllm:generation_tokens_total"} <= names
    assert {
        "twowire_generations_total",
        "twowire_prompt_tokens_total",
        "twowire_completion_tokens_total",
        "twowire_refusals_total",
        "twowire_time_to_first_token_seconds",
        "twowire_inter_token_seconds",
        "twowire_open_streams",
        "twowire_engine_restarts",
    } <= names
    assert server.metric("twowire_engine_state", state="ready") == 1
    assert server.metric("twowire_engine_state") == 1, "it is in one state only"


def test_the_queries_in_deploy_ask_for_what_there_is(server: Server) -> None:
    known = names(httpx.get(f"{server.url}/metrics", timeout=30).text) | OF_PROMETHEUS
    assert not {name for query in queries() for name, _ in selectors(query)} - known


@pytest.mark.parametrize("wire", WIRES)
def test_a_generation_is_counted_by_wire_outcome_and_tokens(server: Server, wire: str) -> None:
    def counted() -> dict[str, float]:
        return {
            "completed": server.metric("twowire_generations_total", wire=wire, outcome="completed"),
            "others": server.metric("twowire_generations_total")
            - server.metric("twowire_generations_total", wire=wire, outcome="completed"),
            "prompt": server.metric("twowire_prompt_tokens_total", wire=wire),
            "completion": server.metric("twowire_completion_tokens_total", wire=wire),
            "first": server.metric("twowire_time_to_first_token_seconds_count", wire=wire),
            "ended": server.metric("twowire_generation_seconds_count", wire=wire),
            "vllm": server.metric("vllm:generation_tokens_total"),
        }

    before = counted()
    plain = chat(server, ignore_eos=True).json()["usage"]
    prompt_tokens = plain["prompt_tokens"]
    before = counted()
    assert chat(server, ignore_eos=True, stream=WIRES[wire]).status_code == 200
    server.wait_until(lambda: counted()["vllm"] >= before["vllm"] + 9, 5, "vLLM counted no tokens")
    moved = {name: value - before[name] for name, value in counted().items()}
    assert moved == {
        "completed": 1,
        "others": 0,
        "prompt": prompt_tokens,
        "completion": 9,
        "first": 1,
        "ended": 1,
        "vllm": 9,
    }


def test_a_client_that_leaves_is_counted_as_cancelled(server: Server) -> None:
    labels = {"wire": "sse", "outcome": "cancelled"}
    before = server.metric("twowire_generations_total", **labels)
    tokens = server.metric("twowire_completion_tokens_total", wire="sse")
    # Many choices, so that it still runs when the figures are read, however busy the machine is.
    body = CHAT | {"stream": True, "max_tokens": 1900, "ignore_eos": True, "n": 64}
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=60) as response:
        parts = response.iter_bytes()
        next(parts)
        assert server.metric("twowire_open_streams", wire="sse") == 1
    server.wait_until(
        lambda: server.metric("twowire_generations_total", **labels) == before + 1, 5, "the cancel was not counted"
    )
    assert server.metric("twowire_open_streams") == 0
    assert 0 < server.metric("twowire_completion_tokens_total", wire="sse") - tokens < 64 * 1900


def test_refusals_are_counted_by_reason(server: Server) -> None:
    reasons: dict[str, dict[str, Any]] = {
        "invalid_value": {"temperature": 3},
        "model_not_found": {"model": "gpt-4o"},
    }
    for reason, fields in reasons.items():
        before, all_before = server.metric("twowire_refusals_total", reason=reason), generations(server)
        assert chat(server, **fields).json()["error"]["code"] == reason
        assert server.metric("twowire_refusals_total", reason=reason) == before + 1
        assert generations(server) == all_before


def generations(server: Server) -> float:
    return server.metric("twowire_generations_total")


def test_unknown_fields_are_counted_and_ignored(server: Server) -> None:
    before = server.metric("twowire_unknown_fields_total", route="/v1/chat/completions")
    assert chat(server, a_field_of_tomorrow=1, another_one={"x": []}).status_code == 200
    assert server.metric("twowire_unknown_fields_total", route="/v1/chat/completions") == before + 2


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_request_is_one_log_line_with_its_figures(server: Server, stream: bool) -> None:
    label = f"label-{uuid.uuid4().hex}"
    answer = chat(server, {"X-Request-Id": label}, stream=stream, ignore_eos=True)
    assert answer.status_code == 200
    (line,) = log_lines(server, label)
    assert line["event"] == "request"
    assert line["request_id"] == label
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/chat/completions", 200)
    assert (line["model"], line["outcome"], line["completion_tokens"]) == (MODEL, "completed", 9)
    assert line["prompt_tokens"] > 0
    assert 0 < line["first_token_s"] <= line["duration_s"] < 60
    assert line["timestamp"]


def test_a_refusal_is_logged_with_its_code(server: Server) -> None:
    label = f"label-{uuid.uuid4().hex}"
    assert chat(server, {"X-Request-Id": label}, temperature=3).status_code == 400
    (line,) = log_lines(server, label)
    assert (line["status"], line["error"]) == (400, "invalid_value")


def test_no_text_of_a_prompt_or_an_answer_is_in_the_log(server: Server) -> None:
    word, label = f"secret{uuid.uuid4().hex}", f"label-{uuid.uuid4().hex}"
    chat_url, completion_url = f"{server.url}/v1/chat/completions", f"{server.url}/v1/completions"
    messages = [{"role": "user", "content": word}]
    cases: list[tuple[str, dict[str, Any]]] = [
        (chat_url, CHAT | {"messages": messages}),
        (chat_url, CHAT | {"messages": messages, "stream": True}),
        (completion_url, {"model": MODEL, "prompt": word, "echo": True, "max_tokens": 4}),
        # What goes wrong must not print it either.
        (chat_url, CHAT | {"messages": [{"role": word, "content": word}]}),
        (chat_url, CHAT | {"messages": messages, "stop": word, "temperature": word}),
        (chat_url, CHAT | {"messages": [{"role": "user", "content": word * 3000}]}),
        (completion_url, {"model": word, "prompt": word, "user": word}),
    ]
    statuses = [httpx.post(url, json=body, timeout=60).status_code for url, body in cases]
    assert statuses == [200, 200, 200, 400, 400, 400, 404]
    echoed = httpx.post(completion_url, json=cases[2][1], headers={"X-Request-Id": label}, timeout=60)
    assert word in echoed.json()["choices"][0]["text"], "the answer holds the word, so the log could"
    log_lines(server, label)
    found = [line for line in server.log if word in line]
    assert found == []


@pytest.mark.parametrize("label", ["abc", "0b5c-77", "a" * 128])
def test_a_request_id_is_given_back(server: Server, label: str) -> None:
    for path in ("/livez", "/v1/models", "/v1/nothing"):
        response = httpx.get(f"{server.url}{path}", headers={"X-Request-Id": label}, timeout=30)
        assert response.headers["x-request-id"] == label


@pytest.mark.parametrize("label", ["", "a" * 129, "two words", "ümlaut", "tab\there"])
def test_an_odd_request_id_is_replaced(server: Server, label: str) -> None:
    headers = {"X-Request-Id": label.encode()}
    got = {httpx.get(f"{server.url}/livez", headers=headers, timeout=30).headers["x-request-id"] for _ in range(2)}  # type: ignore[arg-type]  # bytes are allowed
    assert len(got) == 2
    assert all(re.fullmatch(r"req_[0-9a-f]{32}", one) for one in got)


def test_one_request_id_of_two_clients_ends_neither(server: Server) -> None:
    same = {"X-Request-Id": "same"}
    body = CHAT | {"stream": True, "max_tokens": 300, "ignore_eos": True}
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, headers=same, timeout=60) as first:
        parts = first.iter_text()
        text = next(parts)
        with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, headers=same, timeout=60) as second:
            next(second.iter_bytes())
        text += "".join(parts)
    assert text.endswith("data: [DONE]\n\n")
    assert text.count('"content"') > 100
    assert '"error"' not in text


def test_the_pages_and_the_version_can_be_reached(server: Server) -> None:
    version = httpx.get(f"{server.url}/version", timeout=30)
    assert version.json() == {"version": installed_version()}
    document = httpx.get(f"{server.url}/openapi.json", timeout=30)
    assert document.json()["openapi"].startswith("3.")
    assert "/v1/chat/completions" in document.json()["paths"]
    docs = httpx.get(f"{server.url}/docs", timeout=30)
    assert docs.status_code == 200
    assert docs.headers["content-type"].startswith("text/html")
    health = httpx.get(f"{server.url}/health", timeout=30).json()
    assert health["status"] == "ok"
    assert health["timestamp"] > 0
