"""Fake servers that are forked from `tests.live.servers.forks.fork_server`, which each worker of the tests starts."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from tests.certificates import ROOT


class Forked:
    """A process, as `subprocess.Popen` shows one."""

    def __init__(self, output: int, end: socket.socket) -> None:
        """`output`: what it writes; `end`: its id, and its exit code once it has ended; then that is closed."""
        self.returncode: int | None = None
        self.stdout: TextIO | None = os.fdopen(output, encoding="utf-8", errors="replace")
        self._end = end
        self._lock = threading.Lock()
        self.pid = int(self._end.recv(99))

    def poll(self) -> int | None:
        """Its exit code, or None where it runs."""
        with self._lock:
            if self.returncode is None and select.select([self._end], [], [], 0)[0]:
                self.returncode = int(self._end.recv(99))
                self._end.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises `subprocess.TimeoutExpired`."""
        if self.returncode is None and not select.select([self._end], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(["a forked server"], timeout or 0)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@dataclass(frozen=True)
class ForkServer:
    """The process, and where it takes starts."""

    process: subprocess.Popen[bytes]
    starts: socket.socket

    def start(self, arguments: Sequence[str], environment: Mapping[str, str]) -> Forked:
        message = json.dumps({"arguments": list(arguments), "environment": dict(environment)}).encode()
        output, its_output = os.pipe()
        end, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its_end:
            socket.send_fds(self.starts, [message], [its_output, its_end.fileno()])
        os.close(its_output)
        return Forked(output, end)

    def stop(self) -> None:
        """Those that it has forked go on."""
        self.starts.close()
        self.process.wait(60)


_starting = threading.Lock()
_started: list[ForkServer] = []


def start_forked(arguments: Sequence[str], environment: Mapping[str, str]) -> Forked:
    """Start a fake server with these arguments and nothing but this environment."""
    with _starting:
        if not _started:
            _started.append(_start_fork_server(environment))
        return _started[0].start(arguments, environment)


def _start_fork_server(environment: Mapping[str, str]) -> ForkServer:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with there:
        command = [sys.executable, "-m", "tests.live.servers.forks.fork_server"]
        process = subprocess.Popen(command, stdin=there.fileno(), cwd=ROOT, env=environment)
    started = ForkServer(process, here)
    atexit.register(started.stop)
    return started
