"""A short soak, on the engine that counts: nothing is left behind, and every request is accounted for.

The long one, on the real engine, is `python -m bench.soak`; docs/reference/operations.md has its figures.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 500
ATTACKS = (
    "attack: a hostile schema",
    "attack: a body of brackets",
    "attack: a foreign page",
    "attack: a ticket that is hoarded",
    "attack: a flood of HTTP/2 frames",
)


@pytest.mark.slow
@pytest.mark.timeout(LIMIT_S + 60)
def test_half_a_minute_of_mixed_traffic_leaves_nothing_behind(capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "bench.soak", "--engine", "counting", "--minutes", "0.5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    with capsys.disabled():
        print("\n" + done.stdout.partition("\n")[0])
    for kind in ("HTTP/1.1: a stuck reader", "HTTP/2: a stream, reset", "channel: a chat, resumed", "failed", *ATTACKS):
        assert f"| {kind} |" in done.stdout, "there was no such traffic"
