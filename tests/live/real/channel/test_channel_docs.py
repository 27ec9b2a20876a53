"""The client that `docs/websocket.md` shows works as it stands, against the real server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.live.servers.server import MODEL, Server

DOCUMENT = Path(__file__).parents[4] / "docs" / "websocket.md"


def example() -> str:
    found = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(found) == 1
    return str(found[0])


def run(code: str, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, url], capture_output=True, text=True, timeout=60, check=True, encoding="utf-8"
    )


def test_the_example_prints_the_answer(server: Server) -> None:
    done = run(example(), f"ws://127.0.0.1:{server.port}/v1/chat/completions")
    answer = server.sdk().chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hello"}], max_completion_tokens=32, temperature=0
    )
    assert answer.choices[0].message.content
    assert done.stdout == answer.choices[0].message.content + "\n"
    assert done.stderr == ""


def test_the_example_tells_of_a_refusal_and_ends(server: Server) -> None:
    code = example().replace('"temperature": 0', '"temperature": 3')
    assert code != example()
    done = run(code, f"ws://127.0.0.1:{server.port}/v1/chat/completions")
    assert done.stdout == ""
    assert "temperature" in done.stderr
