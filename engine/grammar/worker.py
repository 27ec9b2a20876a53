"""The grammar worker's process: forks a child for each constraint, and reports the verdicts.

Run by `engine.grammar.process` as `python -m engine.grammar.worker FD`; FD is its end of a socket pair. It parses no
constraint itself, so that none can block it. It has a single thread, because it forks. It exits when the other end
closes, however the server ended, and its children with it.

Messages in: `start` with the backend and limits, followed by the tokenizer; `compile`, followed by the constraint's
text; `cancel`. Messages out: `ready` or `failed`; `done` for every compile, including cancelled ones.
"""

from __future__ import annotations

import gc
import os
import selectors
import socket
import sys
import time
from typing import Any

from engine.grammar.backends import Compile, compile_with
from engine.grammar.child import Child
from engine.grammar.constraint import BackendSpec, CompileLimits, Constraint, Verdict
from engine.processes import messages


class Worker:
    """See the module."""

    def __init__(self, wire: socket.socket, compile_: Compile, limits: CompileLimits) -> None:
        self._wire = wire
        self._compile = compile_
        self._limits = limits
        self._selector = selectors.DefaultSelector()
        self._selector.register(wire, selectors.EVENT_READ)
        self._children: dict[int, Child] = {}
        self._deadlines: dict[int, float] = {}
        """By job number, the earliest first: all jobs have the same time."""

    def serve(self) -> None:
        """Serve until the server is gone."""
        while True:
            for key, _ in self._selector.select(self._timeout_s()):
                if key.data is None:
                    if not self._receive():
                        return
                elif key.data in self._children and not self._children[key.data].read():
                    self._finish(key.data)
            now = time.monotonic()
            for job in [job for job, deadline in self._deadlines.items() if deadline <= now]:
                self._end(job, Verdict("late"))

    def _timeout_s(self) -> float | None:
        return max(0.0, next(iter(self._deadlines.values())) - time.monotonic()) if self._deadlines else None

    def _receive(self) -> bool:
        message = messages.read_blocking(self._wire)
        if message is None:
            return False
        header, tail = message
        job = header["job"]
        if header["type"] == "compile":
            self._begin(job, Constraint(header["kind"], tail.decode()))
        elif job in self._children:
            self._end(job, Verdict("cancelled"))
        return True

    def _begin(self, job: int, constraint: Constraint) -> None:
        # The child must not hold the other children's pipes open.
        others = [child.answer for child in self._children.values()]
        try:
            child = Child(constraint, self._compile, self._limits, [self._wire.fileno(), *others])
        except OSError:
            self._report(job, Verdict("busy"))
            return
        self._children[job] = child
        self._deadlines[job] = time.monotonic() + self._limits.wall_s
        self._selector.register(child.answer, selectors.EVENT_READ, data=job)

    def _end(self, job: int, verdict: Verdict) -> None:
        self._children[job].kill()
        self._finish(job, verdict)

    def _finish(self, job: int, verdict: Verdict | None = None) -> None:
        child = self._children.pop(job)
        del self._deadlines[job]
        self._selector.unregister(child.answer)
        seen = child.reap()
        self._report(job, verdict or seen)

    def _report(self, job: int, verdict: Verdict) -> None:
        header = {"type": "done", "job": job, "outcome": verdict.outcome, "message": verdict.message}
        header |= {"cpu_s": verdict.cpu_s, "peak_mib": verdict.peak_mib}
        self._wire.sendall(messages.encoded(header))


def main(number: int) -> None:
    """Load the tokenizer, then serve until the server is gone."""
    wire = socket.socket(fileno=number)
    message = messages.read_blocking(wire)
    if message is None:
        return
    header: dict[str, Any] = message[0]
    try:
        compile_ = compile_with(BackendSpec(tokenizer=message[1].decode(), **header["backend"]))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:300]
        wire.sendall(messages.encoded({"type": "failed", "reason": reason}))
        return
    del message
    # Otherwise garbage collection in a child would copy the memory it shares with this process.
    gc.collect()
    gc.freeze()
    wire.sendall(messages.encoded({"type": "ready"}))
    try:
        Worker(wire, compile_, CompileLimits(**header["limits"])).serve()
    except OSError:  # The server is gone.
        pass
    # At once; the kernel signals the children.
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
