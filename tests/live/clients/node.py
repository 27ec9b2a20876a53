"""Runs the tests of `tests/js` under Node."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.certificates import ROOT

FOLDER = ROOT / "tests" / "js"
LIMIT_S = 100


def node(*files: str, env: dict[str, str] | None = None) -> str:
    """What Node's test runner prints for these files of `tests/js`; with it, the test fails where one of them does."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("node is not installed: the tests of tests/js need it")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CHANNEL_", "NODE_"))}
    # Node 20 has no WebSocket without the flag; the later ones accept it, and report in another form by default.
    options = ["--test", "--test-reporter=tap", "--experimental-websocket"]
    command = [program, *options, *(str(FOLDER / name) for name in files)]
    ended = subprocess.run(
        command, cwd=ROOT, env=kept | (env or {}), capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    if ended.returncode != 0:
        pytest.fail(f"{' '.join(command)}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}", pytrace=False)
    return ended.stdout


def packages(what_for: str) -> Path:
    """The folder with the packages of `static/package.json`, installed if necessary; skips the test without npm."""
    if os.environ.get("WITHOUT_NPM"):
        pytest.skip(f"WITHOUT_NPM is set: {what_for} is not there")
    command = [sys.executable, str(ROOT / "requirements" / "pages.py"), "tools"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / ".node" / "node_modules"
