"""What is logged of an error: where it happened, never what was in its variables."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import structlog
from app.logs import set_up_logs
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
