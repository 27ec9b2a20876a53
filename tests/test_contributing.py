"""CONTRIBUTING.md names files and folders that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ABBREVIATED = ("app/", "engine/", "protocol/", "")
"""The diagram leaves the first folder out."""


def test_every_path_in_it_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    example = text[text.index("## Example: a new API") :].split("\n## ")[0]
    named = set(re.findall(r"[\w.-]+(?:/[\w.-]+)*/(?:[\w-]+\.py)?", text.replace(example, "")))
    source = {name for name in named if name.startswith(("app/", "engine/", "protocol/")) or name.endswith(".py")}
    assert len(source) > 40
    assert [name for name in sorted(source) if not any((ROOT / folder / name).exists() for folder in ABBREVIATED)] == []
