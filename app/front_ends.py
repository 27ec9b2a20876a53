"""Runs several front ends, each a process of its own, on one port: starts them, hands on signals, replaces the dead.

Does not know what a front end does. Which of them gets a connection is decided by the client's address, so that a
client always meets the same one, and finds there what it left: its tickets, its resumable generations.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import structlog
from hypercorn.config import Config, Sockets

from app import hypercorn_fixes
from engine.shared import Meeting, Place

log = structlog.get_logger(__name__)

HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
HEALTHY_AFTER_S = 60.0
"""A front end that lived this long was healthy: another takes its place. Else all end, for so would the next one."""
FAILED = 1

SO_ATTACH_REUSEPORT_CBPF = 51
"""Linux, `socket(7)`; Python has no name for it."""
NETWORK_HEADER = 0xFFF00000
"""From here on a program counts from the IP header on (`linux/filter.h`: SKF_NET_OFF)."""


def listening_sockets(config: Config, count: int, *, by_address: bool) -> list[Sockets]:
    """For each front end the sockets it accepts from, all on the port of `config`. Raises `OSError`.

    Where it is not decided by the client's address, the system chooses one for each connection.
    """
    if count == 1:
        return [hypercorn_fixes.create_sockets(config)]
    config.workers = count  # So that hypercorn lets several sockets have one port.
    found: list[Sockets] = []
    for _ in range(count):
        found.append(hypercorn_fixes.create_sockets(config))
        host, _, _ = config.bind[0].rpartition(":")
        config.bind = [f"{host}:{_first(found[0]).getsockname()[1]}"]
    if by_address:
        _choose_by_address(_first(found[0]), count)
    return found


def _first(sockets: Sockets) -> socket.socket:
    return (*sockets.insecure_sockets, *sockets.secure_sockets)[0]


def _choose_by_address(sock: socket.socket, count: int) -> None:
    """Of the sockets that share a port, in the order in which they were made, the client's address chooses.

    The program is classic BPF: it takes the last four bytes of the source address, of IPv4 or of IPv6, modulo the
    number of sockets.
    """
    load_byte, shift_right, jump_if_equal, load_word, jump, modulo, give_back = 0x30, 0x74, 0x15, 0x20, 0x05, 0x94, 0x16
    program = (
        (load_byte, 0, 0, NETWORK_HEADER),
        (shift_right, 0, 0, 4),
        (jump_if_equal, 0, 2, 6),
        (load_word, 0, 0, NETWORK_HEADER + 20),
        (jump, 0, 0, 1),
        (load_word, 0, 0, NETWORK_HEADER + 12),
        (modulo, 0, 0, count),
        (give_back, 0, 0, 0),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
    described = struct.pack("HL", len(program), ctypes.addressof(code))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, described)


@contextlib.contextmanager
def meetings(names: Iterable[str]) -> Iterator[dict[str, Meeting]]:
    """By name, in a folder of this user's alone. To be made before the front ends, which come and go."""
    folder = Path(tempfile.mkdtemp(prefix="twowire-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        made: dict[str, Meeting] = {}
        for name in names:
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(folder / name))
            listener.listen()
            listener.setblocking(False)
            made[name] = Meeting(folder / name, listener)
        yield made


@dataclass(frozen=True, slots=True)
class FrontEnd:
    """One of several, as it knows itself."""

    place: Place
    figures: list[Meeting]
    """Where each of them tells its own, by number."""
    alive: int
    """A file descriptor that ends with the process that started this one."""


def run_several(count: int, leave_s: float, run: Callable[[int, FrontEnd], int], *, hangup_ends: bool) -> int:
    """`run` each of them until all have ended; returns the exit code. `leave_s`: see `Place`.

    `hangup_ends`: SIGHUP ends them, as it does a process that has no other use for it.
    """
    with meetings(["engine", *map(str, range(count))]) as at:
        figures = [at[str(number)] for number in range(count)]

        def front_end(number: int, alive: int) -> int:
            structlog.contextvars.bind_contextvars(front_end=number)
            return run(number, FrontEnd(Place(number, count, at["engine"], leave_s), figures, alive))

        return FrontEnds(count, front_end, hangup_ends=hangup_ends).supervise()


class FrontEnds:
    """The processes, by their numbers. Forks: to be used before there is a thread or an event loop."""

    def __init__(self, count: int, run: Callable[[int, int], int], *, hangup_ends: bool) -> None:
        """`run` is what a front end does, given its number and the end of a pipe that closes when this process is gone;
        it returns its exit code."""
        self._run = run
        self._numbers = range(count)
        self._ending = {signal.SIGINT, signal.SIGTERM} | ({signal.SIGHUP} if hangup_ends else set())
        self._running: dict[int, tuple[int, float]] = {}
        self._is_stopping = False
        self._code = 0
        self._alive, self._held = os.pipe()

    def supervise(self) -> int:
        """Until all have ended; returns the exit code."""
        waited_for = {*HANDED_ON, signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
        for number in self._numbers:
            self._start(number)
        while self._running:
            number_of_signal = signal.sigwait(waited_for)
            if number_of_signal == signal.SIGCHLD:
                self._reap()
            else:
                self._is_stopping |= number_of_signal in self._ending
                self._tell_all(number_of_signal)
        return self._code

    def _start(self, number: int) -> None:
        process = os.fork()
        if process == 0:
            # Ctrl+C reaches every process of the terminal's group: this one shall have it from its parent, once.
            os.setpgid(0, 0)
            os.close(self._held)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            self._run_and_end(number)
        self._running[process] = (number, time.monotonic())

    def _run_and_end(self, number: int) -> NoReturn:
        code = FAILED
        try:
            code = self._run(number, self._alive)
        except BaseException:
            log.exception("front_end_failed")
        finally:
            # No further: what stands around the fork is the parent's to undo.
            sys.stdout.flush()
            os._exit(code)

    def _reap(self) -> None:
        for process in list(self._running):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                number, started_at = self._running.pop(process)
                self._note_end(number, os.waitstatus_to_exitcode(status), time.monotonic() - started_at)

    def _note_end(self, number: int, code: int, lived_s: float) -> None:
        if self._is_stopping:
            self._code = self._code or max(code, 0)
            return
        log.error("front_end_ended", front_end=number, exit_code=code)
        if lived_s > HEALTHY_AFTER_S:
            self._start(number)
            return
        self._is_stopping, self._code = True, FAILED
        self._tell_all(signal.SIGTERM)

    def _tell_all(self, number_of_signal: int) -> None:
        for process in self._running:
            os.kill(process, number_of_signal)
