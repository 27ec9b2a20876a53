"""The programs of `docs/tutorials/cut-cable.md` do what the tutorial says, against the real server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.certificates import ROOT
from tests.live.servers.server import Server

TUTORIAL = (ROOT / "docs" / "tutorials" / "cut-cable.md").read_text("utf-8")
PROGRAMS = dict(re.findall(r"^`(\w+\.py)`:\n\n```python\n(.*?)^```$", TUTORIAL, re.MULTILINE | re.DOTALL))


def output(name: str, server: Server, folder: Path) -> str:
    """What a program of the tutorial prints."""
    file = folder / name
    file.write_text(PROGRAMS[name].replace("8000", str(server.port)), "utf-8")
    command = [sys.executable, "-X", "utf8", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_every_program_is_run_here() -> None:
    assert sorted(PROGRAMS) == ["ask.py", "cut.py", "two.py", "weather.py"]
    assert TUTORIAL.count("```python") == len(PROGRAMS)


def test_http_answers(server: Server, tmp_path: Path) -> None:
    assert len(output("ask.py", server, tmp_path)) > 40


def test_two_chats_share_a_socket(server: Server, tmp_path: Path) -> None:
    assert re.search(r"\b18, 19, 20\b", output("two.py", server, tmp_path))


def test_the_model_calls_the_tool(server: Server, tmp_path: Path) -> None:
    assert output("weather.py", server, tmp_path) in TUTORIAL


def test_the_answer_survives_the_cut(server: Server, tmp_path: Path) -> None:
    printed = output("cut.py", server, tmp_path)
    text, end = printed.strip().rsplit("\n", 1)
    before, after = text.split("\n--- cut ---\n")
    assert before
    assert after
    assert [int(number) for number in re.findall(r"\d+", before + after)] == [*range(1, 101)]
    assert end.startswith("completed: ")
