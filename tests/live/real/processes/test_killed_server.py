"""A server that is killed, without a chance to clean up, leaves no process behind; whatever it was about."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.live.servers.server import START_TIMEOUT_S, environment, session_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * START_TIMEOUT_S)]

TWOWIRE = Path(sys.executable).with_name("twowire")


class Doomed:
    """A server in a session of its own, as it is installed."""

    def __init__(self) -> None:
        command = [str(TWOWIRE), "serve", "--port", "0", "--cpu-kv-cache-gib", "1"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(), start_new_session=True
        )

    def session(self) -> list[psutil.Process]:
        return session_of(self.process)

    def wait_for_processes(self, wanted: range) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while len(self.session()) not in wanted:
            assert time.monotonic() < deadline, f"these processes are there: {self.session()}"
            time.sleep(0.05)  # Between two questions.

    def wait_ready(self) -> None:
        assert self.process.stdout is not None
        assert any(b"ready:" in line for line in self.process.stdout), "it ended"


@pytest.fixture
def doomed() -> Iterator[Doomed]:
    doomed = Doomed()
    yield doomed
    for process in doomed.session():
        process.kill()
    doomed.process.wait(10)
    assert doomed.process.stdout is not None
    doomed.process.stdout.close()


@pytest.mark.parametrize("moment", ["starting", "ready"])
def test_no_process_outlives_a_server_that_is_killed(doomed: Doomed, moment: str) -> None:
    # Itself, Python's tracker of shared memory, and the engine core, as early as that can be seen.
    doomed.wait_for_processes(range(3, 9))
    if moment == "ready":
        doomed.wait_ready()
        assert len(doomed.session()) >= 4
    doomed.process.kill()
    doomed.process.wait(10)
    # An engine core that has only begun to import vLLM does that first.
    doomed.wait_for_processes(range(1))
