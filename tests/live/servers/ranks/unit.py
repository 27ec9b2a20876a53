"""A command under a supervisor: whenever it ends, it is started again, as systemd would with `Restart=always`."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Mapping, Sequence

import psutil

from tests.certificates import ROOT
from tests.live.servers.server import environment

RESTART_AFTER_S = 0.5
STOPS_WITHIN_S = 30.0


class Unit:
    """Started at once; use as a context manager, at whose end nothing of it may be left."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self.command, self.env = tuple(command), environment() | dict(env)
        self.log: list[str] = []
        self.codes: list[int] = []
        """The exit codes of those that have ended."""
        self._stopping, self._starting = threading.Event(), threading.Lock()
        self.process = self._start()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def __enter__(self) -> Unit:
        return self

    def __exit__(self, *_exception: object) -> None:
        with self._starting:
            self._stopping.set()
            children = self.processes()
        self.resume()
        self.process.terminate()
        self._keeper.join(STOPS_WITHIN_S)
        left = psutil.wait_procs(children, timeout=STOPS_WITHIN_S)[1]
        for process in left:
            process.kill()
        assert not left, f"processes were left behind: {left}"

    @property
    def starts(self) -> int:
        return len(self.codes) + 1

    def processes(self) -> list[psutil.Process]:
        """The command's, and all below it."""
        try:
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def suspend(self) -> None:
        """Stop all of them, as if the machine stood still."""
        for process in self.processes():
            process.suspend()

    def resume(self) -> None:
        """Let those go on that have been stopped."""
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    def core(self) -> psutil.Process:
        """The process of its rank."""
        (core,) = (process for process in self.processes() if "EngineCore" in " ".join(process.cmdline()))
        return core

    def worker(self) -> psutil.Process:
        """The process of its part of a copy of the model."""
        (worker,) = (process for process in self.processes() if "Worker" in " ".join(process.cmdline()))
        return worker

    def _start(self) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(self.command, stdout=pipe, stderr=subprocess.STDOUT, env=self.env, cwd=ROOT, text=True)

    def _keep(self) -> None:
        while True:
            process = self.process
            assert process.stdout is not None
            with process.stdout as output:
                self.log.extend(iter(output.readline, ""))
            self.codes.append(process.wait())
            self._stopping.wait(RESTART_AFTER_S)
            with self._starting:
                if self._stopping.is_set():
                    return
                self.process = self._start()
