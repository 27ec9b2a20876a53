"""The short way of a token, out of the real vLLM: it is taken, and what comes by it is what comes by the long one."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.live.conftest import environment
from tests.live.short_path import QUESTIONS

START_S = 240
PLAIN = range(6)
"""The questions whose answers can go by the short way."""

Found = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def found() -> Found:
    command = [sys.executable, "-m", "tests.live.short_path"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=START_S, env=environment(), check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    # vLLM, too, writes there.
    answers: Found = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    return answers


def test_vllm_is_as_the_short_way_expects(found: Found) -> None:
    for number in PLAIN:
        one = found["short"][number]
        # The first and the last step are not relayed, nor is one that came before its reader waited.
        assert one["relayed"] > one["tokens"] / 2, QUESTIONS[number]


@pytest.mark.parametrize("way", ["short", "alternating"])
def test_both_ways_say_the_same(found: Found, way: str) -> None:
    for question, long, other in zip(QUESTIONS, found["long"], found[way], strict=True):
        assert {**other, "relayed": 0} == long, question
    assert found["long"][0]["text"].startswith("1, 2, 3, ")
    assert found["long"][4]["text"].endswith("30, ")
    assert found["long"][5]["text"].endswith("16, ")


def test_what_is_not_plain_is_not_relayed(found: Found) -> None:
    assert [one["relayed"] for one in found["short"][6:]] == [0, 0]
