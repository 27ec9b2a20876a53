"""The load generator counts what a server sends, over each wire, and says so where something is wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import orjson
import pytest

from bench.bodies import SHAPES, TURNS, body_of
from bench.requests import Case
from bench.requests import table as requests_table
from bench.tables import tables
from bench.wires.choice import NAMES
from protocol.chat.request import ChatCompletionRequest
from protocol.validation.parse import request_from_object
from tests.live.servers.server import Server, start_fake_server, stop_server

LIMIT_S = 120


@pytest.fixture(scope="module")
def counting() -> Iterator[Server]:
    server = start_fake_server("--ws-max-running", "8", "--ws-max-waiting", "0", env={"FAKE_PACE_S": "0.005"})
    yield server
    assert stop_server(server) == 0


def load(server: Server, *flags: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "bench.load", "--port", str(server.port), "--tokens", "12", *flags]
    return subprocess.run(command, capture_output=True, timeout=LIMIT_S, check=False)


@pytest.mark.parametrize("wire", NAMES)
def test_every_token_of_every_stream_is_counted(counting: Server, wire: str) -> None:
    done = load(counting, "--wire", wire, "--streams", "4", "--total", "10")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = orjson.loads(done.stdout)
    assert (found["total"], found["tokens"]) == (10, 120)
    # Where the machine is busy, the engine merges tokens into fewer chunks. The first has the role; `[DONE]` counts.
    most = 14 if wire.startswith("sse") else 13
    assert 10 * 3 <= found["chunks"] <= 10 * most
    assert found["tokens_per_s"] > 0
    assert 0 < found["first_ms_p50"] <= found["first_ms_p95"]
    assert 0 < found["gap_ms_p50"] <= found["gap_ms_p95"]


@pytest.mark.parametrize("wire", NAMES)
def test_a_refusal_ends_it_with_an_error(counting: Server, wire: str) -> None:
    done = load(counting, "--wire", wire, "--streams", "2", "--model", "nobody")
    assert done.returncode != 0
    assert b"404" in done.stderr


def figures(contender: str, wire: str, streams: int, cpu_s: float, tokens_each: int = 128) -> dict[str, Any]:
    return {
        "contender": contender,
        "wire": wire,
        "streams": streams,
        "total": 10,
        "tokens_each": tokens_each,
        "tokens": 10 * tokens_each,
        "chunks": 10 * (tokens_each + 2),
        "cpu_s": cpu_s,
        "tokens_per_s": 1000.0,
        **dict.fromkeys(("first_ms_p50", "first_ms_p95", "gap_ms_p50", "gap_ms_p95"), 1.5),
    }


def test_the_tables_show_medians_their_spread_and_the_ratio() -> None:
    found = [figures("vLLM's server", "sse", 64, 0.128), figures("vLLM's server", "sse", 64, 0.256)]
    found += [figures("vLLM's server", "sse", 64, 0.0768), figures("twowire", "channel", 64, 0.064)]
    found += [figures("vLLM's server", "sse", 16, 0.02, 1), figures("twowire", "channel", 16, 0.01, 1)]
    text = tables(found)
    assert "| vLLM's server, SSE | 100.0 (60.0–200.0) |" in text
    assert "| twowire, channel, a socket each | 50.0 **0.50** |" in text
    assert "| twowire, channel, a socket each | 1.00 **0.50** |" in text


@pytest.mark.parametrize("wire", NAMES)
def test_a_burst_connects_at_once(counting: Server, wire: str) -> None:
    done = load(counting, "--wire", wire, "--streams", "6", "--burst")
    assert done.returncode == 0, done.stderr
    found = orjson.loads(done.stdout)
    assert (found["total"], found["tokens"]) == (6, 72)


def test_each_turn_of_a_dialogue_begins_as_the_one_before_it() -> None:
    bodies = [body_of(number, "m", "Why?", 1, "dialogue") for number in range(TURNS + 1)]
    for earlier, later in pairwise(bodies[:TURNS]):
        assert later["messages"][:-2] == earlier["messages"]
    assert len(bodies[TURNS]["messages"]) == 1
    assert bodies[TURNS]["messages"] != bodies[0]["messages"]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_server_takes_every_shape(shape: str) -> None:
    request_from_object(ChatCompletionRequest, body_of(9, "m", "Why?", 1, shape))


def test_requests_are_compared_with_those_of_the_first_server() -> None:
    case = Case("a burst of 256", "sse", 256, 256, ("--burst",))
    found = {case: {"before": [(1.0, 10.0), (3.0, 20.0)], "here": [(0.5, 5.0), (0.9, 7.0)]}}
    assert requests_table(found, ["before", "here"]).splitlines()[2] == (
        "| a burst of 256, sse | 2.00 (1.00), 15 ms | 0.70 (0.50) **0.40**, 6 ms |"
    )
