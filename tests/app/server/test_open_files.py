"""The limit of open files, in a process of its own."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from app.server.open_files import NEEDED, WANTED

PROGRAM = (
    "import resource, app.server.open_files as f; "
    "f.raise_the_limit(); print(resource.getrlimit(resource.RLIMIT_NOFILE))"
)


def with_limits(soft: int, hard: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("soft", "hard"), [(64, 400), (256, 256), (300, 400)])
def test_the_soft_limit_becomes_the_hard_one(soft: int, hard: int) -> None:
    assert with_limits(soft, hard).stdout.strip() == str((min(hard, WANTED), hard))


@pytest.mark.parametrize("hard", [64, NEEDED - 1])
def test_too_low_a_hard_limit_is_refused_with_the_number_needed(hard: int) -> None:
    told = with_limits(hard, hard).stderr.splitlines()[-1]
    assert f"is {hard}, and the server needs at least {NEEDED}" in told
