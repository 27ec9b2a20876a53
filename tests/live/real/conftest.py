"""Two servers with the real engine and the bundled model, one of them shared by all tests that ask for `server`.

They compute in float32, so that greedy text does not depend on what else is in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.live.servers.held import BRAKE_ARGS, BRAKE_FILE, braked
from tests.live.servers.server import START_TIMEOUT_S, Server, start_server, stop_server
from tests.otlp import Collector, collecting

STALL_S = 8.0


@pytest.fixture(scope="session")
def brake_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the shared server's engine looks for how slow to be."""
    return tmp_path_factory.mktemp("brake") / "step_s"


@pytest.fixture(scope="session")
def shared_server(brake_file: Path) -> Iterator[Server]:
    # One socket carries as many streams as the channel's tests need, and a client that reads nothing is not cut off
    # while the engine goes on, however slow the machine is. A body that does not come is given up before the fuzz job
    # looks at what is left.
    flags = ("--dtype", "float32", "--ws-max-running", "64", "--ws-max-waiting", "64")
    timeouts = ("--send-timeout-s", "120", "--body-timeout-s", "20")
    server = start_server(*flags, *timeouts, "--engine-args", BRAKE_ARGS, env={BRAKE_FILE: str(brake_file)})
    yield server
    assert stop_server(server) == 0, "".join(server.log[-60:])


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Receives the traces of `other_server`."""
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="session")
def other_server(collector: Collector) -> Iterator[Server]:
    """For what the shared one is not started with: traces, and a watchdog that soon replaces an engine that hangs."""
    watchdog = ("--stall-timeout-s", str(STALL_S), "--heartbeat-interval-s", "2")
    server = start_server("--dtype", "float32", *watchdog, "--otlp-endpoint", collector.url)
    yield server
    assert stop_server(server) == 0, "".join(server.log[-60:])


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """The shared server, ready; fails the test that leaves a request behind in it."""
    shared_server.wait_until(shared_server.is_ready, START_TIMEOUT_S, "the server is not ready")
    yield shared_server
    assert shared_server.process.poll() is None, "the server died:\n" + "".join(shared_server.log[-60:])
    if shared_server.is_ready():
        # An answer that its page left for another server goes on until it is whole: up to 700 tokens.
        shared_server.wait_idle(60)
        shared_server.wait_until(lambda: not shared_server.metric("twowire_websockets"), 5, "a WebSocket was left open")


@pytest.fixture
def slow_engine(server: Server, brake_file: Path) -> Iterator[Callable[[], None]]:
    """The shared server's engine makes at most 20 tokens of an answer in a second, until this is called."""
    with ExitStack() as stack:
        stack.enter_context(braked(brake_file))
        yield stack.close
