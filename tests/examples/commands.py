"""The commands of examples/README.md, run as a reader runs them: unchanged, but for what is added to them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import NamedTuple

from tests.certificates import ROOT
from tests.live.servers.server import environment

EXAMPLES = ROOT / "examples"
README = EXAMPLES / "README.md"
LIMIT_S = 150


class Ended(NamedTuple):
    code: int
    output: str
    """Of both streams."""


def command_lines() -> list[list[str]]:
    """The words of each line in the README's blocks of commands."""
    blocks = re.findall(r"```bash\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines() if line]


def command_of(example: str) -> list[str]:
    """The README's first command that runs this file, with its Python replaced by the one that runs the tests."""
    words = next(words for words in command_lines() if f"examples/{example}" in words)
    return [sys.executable if word == ".venv/bin/python" else word for word in words]


def started(example: str, *more: str) -> subprocess.Popen[str]:
    """The running program, in the folder of the project."""
    return subprocess.Popen(
        [*command_of(example), *more],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> Ended:
    """What a program wrote, and its exit code; killed after `LIMIT_S`."""
    try:
        output, _ = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        output += f"\nit had not ended after {LIMIT_S} s"
    return Ended(process.returncode, output)
