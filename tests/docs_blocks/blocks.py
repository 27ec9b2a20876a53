"""The fenced blocks of README and of the quickstarts, in each language, and how the tests run them.

A comment before a block, which readers do not see, says what becomes of it: `<!-- run -->` on a server with the chat
model, `<!-- run: embeddings -->` on one with the embedder, or `<!-- not run: REASON -->`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.certificates import ROOT
from tests.docs_blocks.scripts import SEPARATOR

PAGES = [*sorted(ROOT.glob("README*.md")), *sorted((ROOT / "docs").rglob("quickstart*.md"))]
URL = "http://127.0.0.1:8000"
"""Where the blocks expect the server."""
RUN, EMBEDDINGS = "run", "run: embeddings"
LIMIT_S = 170

BLOCK = re.compile(r"(?:^<!-- ([^\n]*) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = {
    "bash": ("bash", "-euo", "pipefail"),
    # All in one process: what they import takes longer than what they do.
    "python": (sys.executable, "-m", "tests.docs_blocks.scripts"),
    # Node 20 has no WebSocket without the flag; the later ones accept it.
    "js": ("node", "--experimental-websocket", "--input-type=module"),
}
"""What runs blocks: of Python, files that it names; else one block, on its standard input."""


class Block(NamedTuple):
    """A fenced block; `mark` is what the comment before it says, empty without one."""

    mark: str
    language: str
    text: str


def blocks(text: str) -> list[Block]:
    """All blocks of a page."""
    return [Block(mark, language, code) for mark, language, code in BLOCK.findall(text)]


def marked(mark: str) -> list[Block]:
    """The blocks of all pages with this mark; one that stands on several pages counts once."""
    return list(
        dict.fromkeys(block for page in PAGES for block in blocks(page.read_text("utf-8")) if block.mark == mark)
    )


def run(found: list[Block], url: str, folder: Path) -> None:
    """Run blocks of one language against the server at `url`; fails the test whose block fails or prints an error.

    Shell commands run in `folder`, programs in the project's.
    """
    (language,) = {block.language for block in found}
    texts = [block.text.replace(URL, url) for block in found]
    if language == "python":
        files = [folder / f"block_{number}.py" for number in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            file.write_text(text, "utf-8")
        printed = _run([*COMMANDS[language], *map(str, files)], "", ROOT)
        check(found, printed.split(SEPARATOR)[1:])
    else:
        cwd = folder if language == "bash" else ROOT
        check(found, [_run(COMMANDS[language], text, cwd) for text in texts])


def check(found: list[Block], printed: list[str]) -> None:
    """Fail where a block has printed an error, or one that asks the server has printed nothing."""
    for block, text in zip(found, printed, strict=True):
        assert '"error"' not in text, f"{block.text}\n-- printed:\n{text}"
        assert text.strip() or URL not in block.text, f"{block.text}\n-- printed nothing"


def _run(command: Sequence[str], text: str, cwd: Path) -> str:
    for program in [command[0], *(["curl"] if "curl " in text else [])]:
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} here")
    path = os.pathsep.join(map(str, (ROOT, ROOT / "clients" / "python")))
    done = subprocess.run(
        command,
        input=text,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, f"{text}\n-- printed:\n{done.stdout}\n{done.stderr}"
    return done.stdout
