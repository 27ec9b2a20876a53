"""What holds an engine's answers back while a test needs one that is still coming: by files that the engine looks into.

A `Leash` holds the counting engine, `braked` the real one, whose brake is `tests.live.servers.brake`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BRAKE_FILE = "TEST_BRAKE_FILE"
BRAKE_ARGS = json.dumps({"logits_processors": ["tests.live.servers.brake:Brake"]})
"""For `--engine-args`: the engine imports the brake, which needs vLLM; whoever starts a server does not."""


def _write(path: Path, text: str) -> None:
    """In one step: the engine may be reading it."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


class Leash:
    """How many tokens the answers of the fake server may get to: that server's FAKE_LEASH is `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def reaches(self, tokens: int) -> None:
        """Let every answer get so far, and no further."""
        _write(self.path, str(tokens))


@contextmanager
def braked(file: Path, step_s: float = 0.05) -> Iterator[None]:
    """From now on each step of the engine that was started with this file takes longer by so many seconds."""
    _write(file, str(step_s))
    try:
        yield
    finally:
        file.unlink()
