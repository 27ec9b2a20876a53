"""Bad input, and an embedder that dies, hangs or cannot be loaded: clients are told, and the chats go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.live.clients.bad import error_of
from tests.live.real.embeddings.embedder import (
    CHAT,
    EMBED,
    MODEL,
    RANK,
    find_embedder,
    in_embedder,
    is_ready,
    post,
    vectors,
)
from tests.live.servers.server import START_TIMEOUT_S, Server, start_fake_server, stop_server

pytest.importorskip("sentence_transformers", reason="the extra `embeddings` is not installed")

pytestmark = [pytest.mark.timeout(2 * START_TIMEOUT_S)]
STALL_S = 6

BAD: list[tuple[str, dict[str, Any], str, str | None]] = [
    (EMBED, {"input": ""}, "invalid_value", "input"),
    (EMBED, {"input": []}, "invalid_value", "input"),
    (EMBED, {"input": ["x"] * 20_000}, "invalid_value", "input"),
    (EMBED, {"input": "x" * 10_000_000}, "invalid_value", "input"),
    (EMBED, {"input": [[5, 10**6]]}, "invalid_value", "input[0]"),
    (EMBED, {"input": [5, 30_522]}, "invalid_value", "input"),
    (EMBED, {"input": [-1]}, "invalid_value", "input[0]"),
    (EMBED, {"input": [2**63]}, "invalid_value", "input[0]"),
    (EMBED, {"input": [[]]}, "invalid_value", "input[0]"),
    (EMBED, {"input": [1.5]}, "invalid_type", "input[0]"),
    (EMBED, {"input": [None]}, "invalid_type", "input[0]"),
    (EMBED, {"input": ["word " * 500]}, "context_length_exceeded", "input[0]"),
    (EMBED, {"input": [[101, *[5] * 300, 102]]}, "context_length_exceeded", "input[0]"),
    (EMBED, {"input": [[5] * 3]}, "invalid_value", "input[0]"),
    (EMBED, {"dimensions": 0}, "invalid_value", "dimensions"),
    (EMBED, {"dimensions": 385}, "invalid_value", "dimensions"),
    (EMBED, {"dimensions": 10**30}, "invalid_value", "dimensions"),
    (EMBED, {"dimensions": True}, "invalid_type", "dimensions"),
    (EMBED, {"encoding_format": "int8"}, "invalid_value", "encoding_format"),
    (EMBED, {"prompt_embeds": "AAAA"}, "unsupported_parameter", "prompt_embeds"),
    (EMBED, {"model": "guide"}, "model_not_found", "model"),
    (EMBED, {"model": "rank"}, "model_not_found", "model"),
    (RANK, {"model": MODEL}, "model_not_found", "model"),
    (RANK, {"documents": ["x"] * 20_000}, "invalid_value", "documents"),
    (RANK, {"documents": []}, "invalid_value", "documents"),
    (RANK, {"top_n": 0}, "invalid_value", "top_n"),
]


BASE: dict[str, dict[str, Any]] = {
    EMBED: {"model": MODEL, "input": "x"},
    RANK: {"model": "rank", "query": "x", "documents": ["y"]},
}


def test_bad_input_is_refused_by_name_and_a_chat_goes_on(embedder: Server, subtests: pytest.Subtests) -> None:
    with httpx.stream("POST", f"{embedder.url}/v1/chat/completions", json=CHAT, timeout=60) as chat:
        lines = chat.iter_lines()
        for path, fields, code, param in BAD:
            with subtests.test(path=path, fields=str(fields)[:60]):
                error = error_of(post(embedder, path, **(BASE[path] | fields)))
                assert (error["code"], error["param"]) == (code, param)
            next(lines)
    for path, body in BASE.items():
        assert post(embedder, path, **body).status_code == 200


@pytest.mark.slow
def test_a_killed_process_ends_every_request_and_is_replaced(embedder: Server) -> None:
    restarts = embedder.metric("twowire_embedder_restarts")
    answers: list[httpx.Response] = []
    long = ["word " * 200] * 300
    threads = [
        threading.Thread(target=lambda: answers.append(post(embedder, EMBED, model=MODEL, input=long)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    embedder.wait_until(lambda: in_embedder(embedder) == 900, 30, "the requests do not run")
    with httpx.stream("POST", f"{embedder.url}/v1/chat/completions", json=CHAT, timeout=60) as chat:
        lines = chat.iter_lines()
        next(lines)
        old = find_embedder(embedder)
        old.kill()
        for thread in threads:
            thread.join(5)
        assert [answer.status_code for answer in answers] == [503] * 3
        for answer in answers:
            assert answer.json()["error"]["code"] == "engine_died"
            assert int(answer.headers["retry-after"]) >= 1
        refused = post(embedder, EMBED, model=MODEL, input="x")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_not_ready")
        assert embedder.is_ready(), "the chats' health is not the embedder's"
        embedder.wait_until(lambda: is_ready(embedder), START_TIMEOUT_S, "the embedder did not come back")
        for _ in range(20):
            next(lines)
    assert embedder.metric("twowire_embedder_restarts") == restarts + 1
    assert vectors(embedder, input="x").shape == (1, 384)
    assert find_embedder(embedder).pid != old.pid


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_leaves_the_chats_alone(tmp_path: Path) -> None:
    # Complete as far as can be seen without loading it; otherwise the server would not start.
    (tmp_path / "config.json").write_text('{"model_type": "nosuch"}')
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
    server = start_fake_server("--embeddings", "--embedding-model", f"broken={tmp_path}")
    try:
        server.wait_until(
            lambda: server.metric("twowire_embedder_state", state="failed"), START_TIMEOUT_S, "it did not fail"
        )
        answer = post(server, EMBED, model="broken", input="x")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_not_ready")
        assert "broken" in answer.json()["error"]["message"]
        assert server.is_ready()
        assert any("there are no embeddings" in line for line in server.log)
    finally:
        assert stop_server(server) == 0


@pytest.fixture(scope="module")
def watched() -> Iterator[Server]:
    """A server whose embedder may not hang for long. The last test kills it."""
    # At the lowest priority, other tests could stall it for as long.
    flags = ("--embedding-nice", "0", "--stall-timeout-s", str(STALL_S), "--heartbeat-interval-s", "1")
    server = start_fake_server("--embeddings", *flags)
    yield server
    stop_server(server)


@pytest.mark.slow
def test_one_that_hangs_is_replaced_and_its_clients_are_told(watched: Server) -> None:
    watched.wait_until(lambda: is_ready(watched), START_TIMEOUT_S, "the embedder is not ready")
    watched.wait_until(lambda: watched.metric("twowire_embedder_heartbeats_total") > 0, 60, "it has no heartbeat")
    # A stopped process exists, its socket is open, and nothing comes back.
    find_embedder(watched).send_signal(signal.SIGSTOP)
    answer = post(watched, EMBED, model=MODEL, input="x")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_died")
    assert httpx.get(f"{watched.url}/health").json()["embedder"]["state"] == "restarting"
    watched.wait_until(lambda: is_ready(watched), START_TIMEOUT_S, "the embedder was not replaced")
    assert watched.metric("twowire_embedder_hangs_total") == 1
    assert post(watched, EMBED, model=MODEL, input="x").status_code == 200


def test_a_server_that_is_killed_leaves_no_embedder_behind(watched: Server) -> None:
    watched.wait_until(lambda: is_ready(watched), START_TIMEOUT_S, "the embedder is not ready")
    embedder = find_embedder(watched)
    watched.process.kill()
    psutil.wait_procs([embedder], timeout=10)
    assert not embedder.is_running()
