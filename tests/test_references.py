"""Files of tests that code and documents name are there."""

from __future__ import annotations

import re

import pytest

from tests.certificates import ROOT

READ = ("app/**/*.py", "engine/**/*.py", "protocol/**/*.py", "bench/**/*.py", "tests/**/*.py", "docs/**/*.md", "*.md")


@pytest.mark.parametrize("pattern", READ)
def test_a_test_that_is_named_is_there(pattern: str) -> None:
    files = [file for file in ROOT.glob(pattern) if file.name != "CHANGELOG.md"]
    assert files
    named = {(file, name) for file in files for name in re.findall(r"\btests/[\w/]+\.py\b", file.read_text())}
    assert not {f"{file.relative_to(ROOT)}: {name}" for file, name in named if not (ROOT / name).is_file()}
