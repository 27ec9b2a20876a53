"""What is logged of an error: where it happened, never what was in its variables."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import structlog
from app.observability.logs import set_up_logs
set_up_logs("{log_format}", "info")
def fail():
    prompt = "my-secret-prompt"
    raise ValueError("it broke")
try:
    fail()
except ValueError:
    structlog.get_logger().exception("request_failed")
"""


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_shows_no_local_variables(log_format: str) -> None:
    script = SCRIPT.format(log_format=log_format).replace('"my-secret-prompt"', '"my-" + "hidden"')
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "it broke" in done.stderr
    assert "fail" in done.stderr
    assert "my-hidden" not in done.stderr


GONE = """
import os, structlog
from app.observability.logs import set_up_logs
set_up_logs("json", "info")
input()
for number in range(3):
    structlog.get_logger().info("nobody reads this", number=number)
print("alive", flush=True)
os._exit(0)
"""


def test_a_log_that_nobody_reads_any_more_stops_nothing() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", GONE], stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stderr.close()
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "alive\n"
