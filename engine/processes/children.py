"""The processes that an engine starts: how they are begun, and how they are ended.

Does not know the engine. psutil comes with vLLM.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import resource_tracker
from typing import TypeVar

import psutil

from engine.processes.threads import in_daemon_thread

P = TypeVar("P")
T = TypeVar("T")


@contextlib.contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Processes that this thread starts meanwhile, and those that they start, never see SIGINT.

    Ctrl+C reaches every process of the terminal. The server alone is to act on it: it lets running requests finish,
    which it cannot when the engine has ended at once. Test: `test_ctrl_c_drains_and_ctrl_c_again_ends_at_once` in
    `tests/live/real/processes/test_command.py`.
    """
    # Started now: starting it later would unblock the signal (multiprocessing.resource_tracker, Python 3.11).
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class EngineProcesses:
    """The processes that were started since this was made. Each is known by its start time too, so that a number
    that the system gives to another process later is not mistaken for it."""

    def __init__(self) -> None:
        self._others = {child.pid for child in multiprocessing.active_children()}
        self._children: set[psutil.Process] = set()
        self._grandchildren: set[psutil.Process] = set()

    async def start(self, prepare: Callable[[], P], start: Callable[[P], T]) -> T:
        """`start(prepare())` in a thread; only `start` may start processes. A cancellation or a failure ends them."""
        given_up = threading.Event()

        def run() -> T:
            prepared = prepare()
            if given_up.is_set():
                raise RuntimeError("the start was given up")
            with interrupts_blocked():
                return start(prepared)

        running = asyncio.ensure_future(in_daemon_thread(run))
        try:
            started = await asyncio.shield(running)
        except asyncio.CancelledError:
            given_up.set()
            # The thread cannot be ended. It ends by itself without its processes, which it may be about to start.
            while not running.done():
                self.kill()
                await asyncio.wait({running}, timeout=0.05)
            running.exception()
            self.kill()
            raise
        except BaseException:
            self.kill()
            raise
        self.note()
        return started

    def note(self) -> None:
        """Remember what runs now: who has lost its parent cannot be found by it any more."""
        for child in multiprocessing.active_children():
            if child.pid is not None and child.pid not in self._others:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process = psutil.Process(child.pid)
                    self._children.add(process)
                    self._grandchildren |= set(process.children(recursive=True))

    def kill(self) -> None:
        """End all of them that still run, at once. Takes a few milliseconds."""
        self.note()
        # Stopped first, so that none can start another meanwhile.
        _each(self._children, psutil.Process.suspend)
        self.note()
        _each(self._children | self._grandchildren, psutil.Process.kill)
        multiprocessing.active_children()  # Reaps those that are our own.

    def kill_grandchildren(self) -> None:
        """End those that our own processes have started."""
        self.note()
        _each(self._grandchildren, psutil.Process.kill)


def _each(processes: Iterable[psutil.Process], act: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            act(process)
