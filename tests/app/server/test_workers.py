"""Several API servers: which of them a client meets, and what becomes of their processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import structlog
from hypercorn.config import Config, Sockets

from app.config.load import load_settings
from app.server import sockets as server_sockets
from app.server.hypercorn_config import hypercorn_config
from app.server.sockets import listening_sockets
from tests.live.clients.bursts import AT_ONCE_S, waits_of_a_burst

COUNT = 3
SOON_S = 10.0

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="several API servers need Linux")


@contextmanager
def listening(host: str) -> Iterator[list[socket.socket]]:
    config = Config()
    config.bind = [f"{host}:0"]
    found: list[Sockets] = listening_sockets(config, COUNT)
    sockets = [sock for each in found for sock in each.insecure_sockets]
    try:
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def met(sockets: list[socket.socket], source: str) -> int:
    """The number of the one that gets a connection from `source`."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    with socket.socket(family) as client:
        client.bind((source, 0))
        client.connect(sockets[0].getsockname()[:2])
        deadline = time.monotonic() + SOON_S
        while time.monotonic() < deadline:
            for number, sock in enumerate(sockets):
                sock.setblocking(False)
                try:
                    sock.accept()[0].close()
                except BlockingIOError:
                    continue
                return number
    pytest.fail("nobody got the connection")


@pytest.mark.parametrize("count", [1, 2])
def test_of_many_that_connect_at_once_nobody_waits(count: int) -> None:
    config = hypercorn_config(load_settings(["--port", "0"], {}))

    def slowest() -> float:
        found = listening_sockets(config, count)
        sockets = [sock for each in found for sock in each.insecure_sockets]
        try:
            # Nobody accepts: as when the event loop is busy.
            return max(waits_of_a_burst(sockets[0].getsockname()[1]))
        finally:
            for sock in sockets:
                sock.close()

    # A machine that stands still for a moment does so once.
    assert min(slowest() for _ in range(3)) < AT_ONCE_S


def test_a_backlog_that_the_system_cuts_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_sockets, "_longest_backlog", lambda: 128)
    config = hypercorn_config(load_settings(["--port", "0", "--backlog", "129"], {}))
    for backlog, expected in ((129, [{"asked_for": 129, "net_core_somaxconn": 128}]), (128, [])):
        config.backlog = backlog
        with structlog.testing.capture_logs() as logged:
            (sockets,) = listening_sockets(config, 1)
        sockets.insecure_sockets[0].close()
        found = [line for line in logged if line.pop("event") == "backlog_shortened" and line.pop("log_level")]
        assert found == expected


def test_they_share_a_port_and_an_address_meets_all_of_them() -> None:
    with listening("127.0.0.1") as sockets:
        assert len({sock.getsockname() for sock in sockets}) == 1
        found = Counter(met(sockets, "127.0.0.1") for _ in range(60))
        assert set(found) == set(range(COUNT)), (
            "of 60 connections, that one gets none happens once in 10 thousand times"
        )


def test_a_port_that_another_server_has_is_not_shared_with_it() -> None:
    with listening("127.0.0.1") as sockets:
        config = Config()
        config.bind = [f"127.0.0.1:{sockets[0].getsockname()[1]}"]
        with pytest.raises(OSError, match="in use"):
            listening_sockets(config, COUNT)


SCRIPT = """
import os, select, signal, socket, sys
from app.server import workers
workers.HEALTHY_AFTER_S = {healthy_after_s}

def tell(*words):
    # In one go, which print does not promise: several processes write, and a signal may come meanwhile.
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

# However the tests themselves were started.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
sockets = [[socket.socket()] for _ in range(2)]
port = 0
for (own,) in sockets:
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    own.bind(("127.0.0.1", port))
    own.listen()
    port = own.getsockname()[1]
tell("at", "port", port)

def run(number, life):
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append("told"))
    signal.signal(signal.SIGHUP, lambda *_: tell(number, "hup"))
    {body}
    tell(number, "began", os.getpid(), "again" if life.is_replacement else "first")
    while not stopped:
        if select.select([life.alive], [], [], 0.02)[0]:
            stopped.append("alone")
    tell(number, *stopped)

{before}
several = workers.ApiServers(sockets, run, hangup_ends={hangup_ends})
code = several.supervise()
tell("why", several.failure())
sys.exit(code)
"""


class Running:
    """The script in a process of its own, and what it has written."""

    def __init__(self, folder: Path, *, healthy_after_s: float, body: str, hangup_ends: bool, before: str) -> None:
        self.out = folder / "out"
        script = SCRIPT.format(healthy_after_s=healthy_after_s, body=body, hangup_ends=hangup_ends, before=before)
        # Appended to, for several processes write: two that write at once must not write at one place.
        with self.out.open("a") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", script],
                stdout=out,
                stderr=out,
                cwd=Path(__file__).resolve().parents[3],
            )

    def lines(self, word: str) -> list[list[str]]:
        return [line.split() for line in self.out.read_text().splitlines() if line.split()[1:2] == [word]]

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SOON_S
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"not within {SOON_S} s: {self.out.read_text()}")
            time.sleep(0.01)  # Between two questions, not in place of one.


@contextmanager
def running(
    folder: Path, *, healthy_after_s: float = 60.0, body: str = "", hangup_ends: bool = False, before: str = ""
) -> Iterator[Running]:
    one = Running(folder, healthy_after_s=healthy_after_s, body=body, hangup_ends=hangup_ends, before=before)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.wait()


def test_a_signal_is_handed_on_to_each_and_all_end(tmp_path: Path) -> None:
    with running(tmp_path) as one:
        one.wait(lambda: len(one.lines("began")) == 2)
        one.process.send_signal(signal.SIGHUP)
        one.wait(lambda: len(one.lines("hup")) == 2)
        one.process.send_signal(signal.SIGTERM)
        assert one.process.wait(SOON_S) == 0
        assert len(one.lines("told")) == 2


def test_one_that_dies_after_a_while_is_replaced(tmp_path: Path) -> None:
    with running(tmp_path, healthy_after_s=0.0) as one:
        one.wait(lambda: len(one.lines("began")) == 2)
        number, _, process, _ = one.lines("began")[0]
        os.kill(int(process), signal.SIGKILL)
        one.wait(lambda: len(one.lines("began")) == 3)
        assert one.lines("began")[2][::3] == [number, "again"]
        one.process.send_signal(signal.SIGTERM)
        assert one.process.wait(SOON_S) == 0


def test_one_that_ends_at_once_ends_all(tmp_path: Path) -> None:
    with running(tmp_path, body="if number == 1: return 'there is no model'") as one:
        assert one.process.wait(SOON_S) == 1
        assert one.lines("there") == [["why", "there", "is", "no", "model"]], "so that it can be the last line"
        assert [line[0] for line in one.lines("told")] in (["0"], []), "told before it could listen, it just ends"


def test_one_that_cannot_start_ends_all_however_long_it_took(tmp_path: Path) -> None:
    with running(tmp_path, healthy_after_s=0.0, body="if number == 1: return 'no'") as one:
        assert one.process.wait(SOON_S) == 1


def test_one_that_crashes_while_all_end_is_told_of_by_the_exit_code(tmp_path: Path) -> None:
    body = "signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGKILL)) if number else None"
    with running(tmp_path, body=body) as one:
        one.wait(lambda: len(one.lines("began")) == 2)
        one.process.send_signal(signal.SIGTERM)
        assert one.process.wait(SOON_S) == 1


def listeners(port: int) -> list[int]:
    """The processes that have a socket which listens on `port`."""
    return [
        process.pid
        for process in psutil.Process().children(recursive=True)
        if any(at.status == psutil.CONN_LISTEN and at.laddr.port == port for at in process.net_connections())
    ]


def test_while_they_drain_only_those_that_are_left_have_the_port(tmp_path: Path) -> None:
    """Else whoever is meant for one that has ended would wait for nobody."""
    body = "signal.signal(signal.SIGTERM, lambda *_: None) if number else None"
    with running(tmp_path, body=body) as one:
        one.wait(lambda: len(one.lines("began")) == 2)
        port = int(one.lines("port")[0][2])
        left = int(next(line[2] for line in one.lines("began") if line[0] == "1"))
        one.process.send_signal(signal.SIGTERM)
        one.wait(lambda: len(one.lines("told")) == 1)
        one.wait(lambda: listeners(port) == [left])
        os.kill(left, signal.SIGKILL)
        assert one.process.wait(SOON_S) == 1


def test_nohup_is_heeded(tmp_path: Path) -> None:
    before = "signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    body = before
    with running(tmp_path, healthy_after_s=0.0, body=body, hangup_ends=True, before=before) as one:
        one.wait(lambda: len(one.lines("began")) == 2)
        one.process.send_signal(signal.SIGHUP)
        os.kill(int(one.lines("began")[0][2]), signal.SIGKILL)
        one.wait(lambda: len(one.lines("began")) == 3)


def test_a_terminal_that_hangs_up_ends_them_for_good(tmp_path: Path) -> None:
    body = "signal.signal(signal.SIGHUP, signal.SIG_DFL)"
    with running(tmp_path, healthy_after_s=0.0, body=body, hangup_ends=True) as one:
        one.wait(lambda: len(one.lines("began")) == 2)
        one.process.send_signal(signal.SIGHUP)
        assert one.process.wait(SOON_S) == 0
        assert len(one.lines("began")) == 2


def test_one_that_raises_ends_as_one_that_fails(tmp_path: Path) -> None:
    with running(tmp_path, body="assert number == 0") as one:
        assert one.process.wait(SOON_S) == 1
        assert "api_server_failed" in one.out.read_text()


def test_they_notice_that_their_parent_is_gone(tmp_path: Path) -> None:
    with running(tmp_path) as one:
        one.wait(lambda: len(one.lines("began")) == 2)
        one.process.kill()
        one.wait(lambda: len(one.lines("alone")) == 2)
