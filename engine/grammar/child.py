"""Compiles one constraint in a process of its own, with limits that the kernel enforces.

Runs in the worker, which forks the child and reads what came of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from typing import NoReturn

import orjson

from engine.grammar.backends import Compile, RefusedError
from engine.grammar.constraint import CompileLimits, Constraint, Outcome, Verdict

MAX_MESSAGE_CHARS = 600
MAX_STDERR_BYTES = 64 * 1024
NICE = 5
"""Lower priority than the engine's, so that a slow compile does not delay running streams."""
STACK_BYTES = 4 * 1024 * 1024
"""Half of what the engine's threads have: what fits here fits there."""
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


class Child:
    """A running compile, as the worker sees it."""

    def __init__(self, constraint: Constraint, compile_: Compile, limits: CompileLimits, not_for_it: list[int]) -> None:
        """Fork. The child closes the files `not_for_it`. Raises OSError if no process or memory is left."""
        self._stderr = os.memfd_create("stderr")
        try:
            self.answer, theirs = os.pipe()
        except OSError:
            os.close(self._stderr)
            raise
        parent = os.getpid()
        try:
            self.pid = os.fork()
        except OSError:
            for number in (self._stderr, self.answer, theirs):
                os.close(number)
            raise
        if not self.pid:
            _run(constraint, compile_, limits, theirs, self._stderr, [*not_for_it, self.answer], parent)
        os.close(theirs)
        self._reported = b""

    def read(self) -> bool:
        """Read what the child reports. Returns False once it has ended or is about to."""
        part = os.read(self.answer, 65536)
        self._reported += part
        return bool(part)

    def kill(self) -> None:
        """End it at once."""
        os.kill(self.pid, signal.SIGKILL)

    def reap(self) -> Verdict:
        """Wait for its end, and return its verdict."""
        _, status, usage = os.wait4(self.pid, 0)
        os.close(self.answer)
        stderr = os.pread(self._stderr, 4096, 0)
        os.close(self._stderr)
        cost = round(usage.ru_utime + usage.ru_stime, 4), usage.ru_maxrss / 1024
        if self._reported and os.waitstatus_to_exitcode(status) == 0:
            report = orjson.loads(self._reported)
            return Verdict(report["outcome"], report["message"], *cost)
        return Verdict(_outcome(os.waitstatus_to_exitcode(status), stderr), "", *cost)


def _outcome(code: int, stderr: bytes) -> Outcome:
    """What the exit of a child that reported nothing means. `code`: its exit code, or minus the signal's number."""
    if code in (-signal.SIGPROF, -signal.SIGXCPU):
        return "too_slow"
    if code == -signal.SIGKILL:
        # Not by us, so by the kernel, for lack of memory.
        return "busy"
    # What Rust writes when it aborts, and C++ for an exception that nobody catches.
    if b"memory allocation of" in stderr or b"bad_alloc" in stderr:
        return "too_large"
    return "crashed"


def _run(
    constraint: Constraint,
    compile_: Compile,
    limits: CompileLimits,
    answer: int,
    stderr: int,
    not_for_it: list[int],
    parent: int,
) -> NoReturn:
    try:
        outcome, message = _compiled_within(constraint, compile_, limits, stderr, not_for_it, parent)
        os.write(answer, orjson.dumps({"outcome": outcome, "message": message[:MAX_MESSAGE_CHARS]}))
        os._exit(0)
    except BaseException:
        os._exit(1)


def _compiled_within(
    constraint: Constraint, compile_: Compile, limits: CompileLimits, stderr: int, not_for_it: list[int], parent: int
) -> tuple[Outcome, str]:
    try:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # The worker ended before the signal was set.
            os._exit(1)
        for number in not_for_it:
            os.close(number)
        os.dup2(stderr, 2)
        _limit(limits)
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}"
    return _compiled(constraint, compile_)


def _limit(limits: CompileLimits) -> None:
    with contextlib.suppress(OSError):
        os.nice(NICE)
    # If the machine runs out of memory, the kernel kills this process first.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, MAX_STDERR_BYTES)
    _lower(resource.RLIMIT_STACK, STACK_BYTES)
    _lower(resource.RLIMIT_DATA, _data_bytes() + limits.memory_mib * 1024 * 1024)
    # The timer counts fractions of a second; its signal ends a process that does not handle it.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, limits.cpu_s)
    _lower(resource.RLIMIT_CPU, int(limits.cpu_s) + 2)


def _lower(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


def _data_bytes() -> int:
    """What RLIMIT_DATA counts of this process now; see VmData in proc(5)."""
    with open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"VmData:"):
                return int(line.split()[1]) * 1024
    return 0


def _compiled(constraint: Constraint, compile_: Compile) -> tuple[Outcome, str]:
    try:
        compile_(constraint.kind, constraint.text)
    except RefusedError as error:
        return "refused", str(error)
    except MemoryError:
        return "too_large", ""
    except BaseException:  # A panic of Rust is not an Exception.
        return "crashed", ""
    return "accepted", ""
