"""That the grammar worker compiles what vLLM would, and that vLLM itself does not, in the server's process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.grammar.child import NICE
from tests.live.servers.server import MODEL, Server, environment

START_S = 240


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.live.servers.grammar"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_S, env=environment(), check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    return answer


def test_the_worker_compiles_what_the_engine_will(found: dict[str, Any]) -> None:
    assert found["same"] == [True] * 8


def test_the_engine_gets_the_text_that_was_checked(found: dict[str, Any]) -> None:
    assert [(one["kind"], one["backend"]) for one in found["wire"]] == [
        (kind, "guidance") for kind in ("json", "regex", "grammar", "structural_tag")
    ]
    assert json.loads(found["wire"][0]["text"])["required"] == ["a"]


def test_vllm_does_not_compile_in_the_servers_process(found: dict[str, Any]) -> None:
    """It would take all memory: the schema is one that the worker refuses."""
    assert found["verify_s"] < 1


def test_requests_that_share_a_compiled_grammar_may_say_what_each_alone_may(found: dict[str, Any]) -> None:
    first, second = found["shared_masks"]
    assert first == second == found["masks"][0] == found["masks"][1]
    assert len(set(first)) > 2, "the masks do not depend on what was said"
    assert found["executor"] == "SharedCompiles"


def test_a_grammar_that_fails_in_the_middle_does_not_end_as_if_the_answer_were_whole(found: dict[str, Any]) -> None:
    *before, last = found["failing"]
    assert len(before) > 5
    assert all(before)
    assert not last


def test_the_engine_core_has_the_threads_that_share_what_they_compile(server: Server) -> None:
    """vLLM finds the plugin that makes them by the project's metadata: if this fails alone, run `make install`."""
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": json.loads('{"type": "boolean"}')}}
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "response_format": wanted, "max_tokens": 9}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60)
    assert answer.json()["choices"][0]["message"]["content"] in ("true", "false")
    threads = {
        os.getpriority(os.PRIO_PROCESS, int(task.name))
        for process in server.engine_processes()
        for task in Path(f"/proc/{process.pid}/task").iterdir()
    }
    assert NICE in threads
