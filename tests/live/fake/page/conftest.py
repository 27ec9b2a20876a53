"""axe, for the tests of the pages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe, which finds what keeps people from using a page."""
    if os.environ.get("WITHOUT_NPM"):
        pytest.skip("WITHOUT_NPM is set: axe is not there")
    command = [sys.executable, str(ROOT / "requirements" / "pages.py"), "tools"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return (ROOT / ".node" / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")
