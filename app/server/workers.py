"""Runs several API servers as processes on one port: starts them, passes on signals, replaces those that die."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import structlog
from hypercorn.config import Sockets

from app.generation.replay.elsewhere import Whereabouts
from app.server.sockets import all_sockets
from app.stores.counts import Counts, CountTable
from engine.sharing.meeting import Meeting, Place

log = structlog.get_logger(__name__)

HEALTHY_AFTER_S = 60.0
"""An API server that dies is replaced if it ran this long. Otherwise all stop: a replacement would fail too."""
START_FAILED = 1
"""An API server's exit code when it cannot start; the whole server's when one failed or did not stop cleanly."""
CRASHED = 70
MAX_REASON_BYTES = 4096


@contextlib.contextmanager
def meetings(names: Iterable[str]) -> Iterator[dict[str, Meeting]]:
    """Meetings by name, in a folder that only this user can read. Created before the API servers, which come and go."""
    folder = Path(tempfile.mkdtemp(prefix="twowire-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield {name: stack.enter_context(Meeting.at(folder / name)) for name in names}


@dataclass(frozen=True, slots=True)
class Life:
    """One process of an API server."""

    alive: int
    """A file descriptor that reads end-of-file once the parent process is gone."""
    is_replacement: bool
    """An earlier process has started successfully, so a failing start is worth retrying."""


@dataclass(frozen=True, slots=True)
class ApiServer:
    """One of several API servers, as it sees itself."""

    place: Place
    figures: list[Meeting]
    """Where each API server serves its metrics, by number."""
    relays: list[Meeting]
    """Where each API server relays its generations to the others, by number."""
    server: Whereabouts
    counts: Counts
    """The connections that are open, of all API servers."""
    life: Life

    def ask_when_orphaned(self, stop: Callable[[], None]) -> None:
        """Call `stop` once, in the running event loop, when the parent process is gone."""
        loop = asyncio.get_running_loop()

        def orphaned() -> None:
            loop.remove_reader(self.life.alive)
            stop()

        loop.add_reader(self.life.alive, orphaned)


def run_several(
    sockets: Sequence[Sockets], leave_s: float, run: Callable[[int, ApiServer], str | None], *, hangup_ends: bool
) -> tuple[int, str | None]:
    """Run an API server for each of the `sockets` until all have ended.

    Returns the exit code, and the reason of the first API server that could not start. `leave_s`: see `Place`.
    `hangup_ends`: SIGHUP stops the server, as it does any process that does not handle it.
    """
    count = len(sockets)
    server = Whereabouts.new_server()
    relay_names = [f"relay-{number}" for number in range(count)]
    with meetings(["engine", *map(str, range(count)), *relay_names]) as at:
        figures = [at[str(number)] for number in range(count)]
        relays = [at[name] for name in relay_names]
        counts = CountTable(count)

        def api_server(number: int, life: Life) -> str | None:
            structlog.contextvars.bind_contextvars(api_server=number)
            place = Place(number, count, at["engine"], leave_s)
            own = (replace(server, number=number), counts.row(number), life)
            return run(number, ApiServer(place, figures, relays, *own))

        listening = [all_sockets(each) for each in sockets]
        api_servers = ApiServers(listening, api_server, hangup_ends=hangup_ends)
        return api_servers.supervise(), api_servers.failure()


class ApiServers:
    """The processes, by number. Forks, so it must be used before there is a thread or an event loop."""

    def __init__(
        self, listening: Sequence[Sequence[socket.socket]], run: Callable[[int, Life], str | None], *, hangup_ends: bool
    ) -> None:
        """`run` is an API server's main function: it takes its number and returns why it could not start, or None.

        Each has its own listening sockets. The parent keeps them open too, so that clients wait while one is replaced.
        """
        self._listening = listening
        self._run = run
        # `sigwait` would return even a signal that is ignored, as SIGHUP is under `nohup`.
        minds_hangups = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        self._ending = {signal.SIGINT, signal.SIGTERM} | ({signal.SIGHUP} if minds_hangups and hangup_ends else set())
        self._waited_for = self._ending | {signal.SIGCHLD} | ({signal.SIGHUP} if minds_hangups else set())
        self._running: dict[int, tuple[int, float]] = {}
        self._is_stopping = False
        self._code = 0
        self._alive, self._held = os.pipe()
        self._failures = os.pipe()
        os.set_blocking(self._failures[0], False)

    def supervise(self) -> int:
        """Supervise the processes until all have ended; returns the exit code."""
        signal.pthread_sigmask(signal.SIG_BLOCK, self._waited_for)
        for number in range(len(self._listening)):
            self._start(number, Life(self._alive, is_replacement=False))
        while self._running:
            number_of_signal = signal.sigwait(self._waited_for)
            if number_of_signal == signal.SIGCHLD:
                self._reap()
            else:
                self._send_all(number_of_signal, is_end=number_of_signal in self._ending)
        return self._code

    def failure(self) -> str | None:
        """Why the first API server that failed to start did so."""
        try:
            failure = os.read(self._failures[0], MAX_REASON_BYTES)
        except BlockingIOError:
            return None
        return failure.decode("utf-8", "replace").partition("\n")[0]

    def _start(self, number: int, life: Life) -> None:
        process = os.fork()
        if process == 0:
            self._run_and_end(number, life)
        self._running[process] = (number, time.monotonic())

    def _run_and_end(self, number: int, life: Life) -> NoReturn:
        code = CRASHED
        try:
            # Ctrl+C reaches every process of the terminal's group. This process gets it from its parent, once.
            os.setpgid(0, 0)
            os.close(self._held)
            # An open copy would keep the socket of an API server that has ended.
            _close(sock for other, own in enumerate(self._listening) if other != number for sock in own)
            if signal.SIGHUP not in self._ending:
                signal.signal(signal.SIGHUP, signal.SIG_IGN)  # Until a handler is installed.
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            failure = self._run(number, life)
            code = 0 if failure is None else START_FAILED
            if failure is not None:
                # Short enough to be written atomically beside other writers (POSIX, PIPE_BUF).
                os.write(self._failures[1], " ".join(failure.split()).encode()[: MAX_REASON_BYTES - 1] + b"\n")
        except BaseException:
            log.exception("api_server_failed")
        finally:
            # Exit here: what surrounds the fork is the parent's to clean up.
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):  # Nobody reads it anymore.
                    stream.flush()
            os._exit(code)

    def _reap(self) -> None:
        for process in list(self._running):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                number, started_at = self._running.pop(process)
                self._note_end(number, os.waitstatus_to_exitcode(status), time.monotonic() - started_at)

    def _note_end(self, number: int, code: int, lived_s: float) -> None:
        if self._is_stopping:
            if code != 0 and -code not in self._ending:
                self._code = self._code or START_FAILED
            return
        log.error("api_server_ended", ended=number, exit_code=code)
        if lived_s > HEALTHY_AFTER_S and code != START_FAILED:
            self._start(number, Life(self._alive, is_replacement=True))
            return
        self._code = START_FAILED
        self._send_all(signal.SIGTERM, is_end=True)

    def _send_all(self, number_of_signal: int, *, is_end: bool) -> None:
        if is_end and not self._is_stopping:
            self._is_stopping = True
            # The port of an API server that has ended closes; those that still drain refuse its clients.
            _close(sock for own in self._listening for sock in own)
        for process in self._running:
            os.kill(process, number_of_signal)


def _close(sockets: Iterable[socket.socket]) -> None:
    for sock in sockets:
        sock.close()
