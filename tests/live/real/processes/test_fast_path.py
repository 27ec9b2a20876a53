"""The fast path out of the real vLLM: tokens take it, and it gives what the ordinary path gives."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.live.servers.fast_path import QUESTIONS
from tests.live.servers.server import environment

START_S = 240
PLAIN = range(6)
"""The questions whose answers can go by the fast path."""

Found = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def found() -> Found:
    command = [sys.executable, "-m", "tests.live.servers.fast_path"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_S, env=environment(), check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    # vLLM, too, writes there.
    answers: Found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    return answers


def test_vllm_is_as_the_fast_path_expects(found: Found) -> None:
    for number in PLAIN:
        one = found["fast"][number]
        # Not the first step, nor the last, nor one that came before its reader waited.
        assert one["by_fast_path"] > one["tokens"] / 2, QUESTIONS[number]


@pytest.mark.parametrize("path", ["fast", "alternating"])
def test_both_paths_say_the_same(found: Found, path: str) -> None:
    for question, ordinary, other in zip(QUESTIONS, found["ordinary"], found[path], strict=True):
        assert {**other, "by_fast_path": 0} == ordinary, question
    assert found["ordinary"][0]["text"].startswith("1, 2, 3, ")
    assert found["ordinary"][4]["text"].endswith("30, ")
    assert found["ordinary"][5]["text"].endswith("16, ")


def test_what_is_not_plain_takes_the_ordinary_path(found: Found) -> None:
    assert [one["by_fast_path"] for one in found["fast"][6:]] == [0, 0]
