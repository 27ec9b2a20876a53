"""Starts an engine's processes, and kills them."""

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
    """Processes started in this block by this thread, and their children, never see SIGINT.

    Ctrl+C reaches every process of the terminal. The server alone is to act on it: it lets running requests finish,
    which it cannot when the engine has ended at once. Test: `test_ctrl_c_drains_and_ctrl_c_again_ends_at_once` in
    `tests/live/real/processes/test_command.py`.
    """
    # Now, because starting it later would unblock the signal (multiprocessing.resource_tracker, Python 3.11).
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class EngineProcesses:
    """The processes started since this was made. Each is identified by its start time as well, in case the system
    reuses its number."""

    def __init__(self) -> None:
        self._others = {child.pid for child in multiprocessing.active_children()}
        self._children: set[psutil.Process] = set()
        self._grandchildren: set[psutil.Process] = set()

    async def start(self, prepare: Callable[[], P], start: Callable[[P], T]) -> T:
        """Run `start(prepare())` in a thread. Only `start` may start processes; failure or cancellation kills them."""
        cancelled = threading.Event()

        def run() -> T:
            prepared = prepare()
            if cancelled.is_set():
                raise RuntimeError("the start was cancelled")
            with interrupts_blocked():
                return start(prepared)

        running = asyncio.ensure_future(in_daemon_thread(run))
        try:
            started = await asyncio.shield(running)
        except asyncio.CancelledError:
            cancelled.set()
            # The thread cannot be stopped, and may be about to start processes. It ends once they are gone.
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
        """Record the processes that run now: an orphan can no longer be found through its parent."""
        for child in multiprocessing.active_children():
            if child.pid is not None and child.pid not in self._others:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process = psutil.Process(child.pid)
                    self._children.add(process)
                    self._grandchildren |= set(process.children(recursive=True))

    def kill(self) -> None:
        """Kill all that still run. Takes a few milliseconds."""
        self.note()
        # Suspended first, so that none can start another meanwhile.
        _each(self._children, psutil.Process.suspend)
        self.note()
        _each(self._children | self._grandchildren, psutil.Process.kill)
        multiprocessing.active_children()  # Reaps those that are our own.

    def kill_grandchildren(self) -> None:
        """Kill those that our own children have started."""
        self.note()
        _each(self._grandchildren, psutil.Process.kill)


def _each(processes: Iterable[psutil.Process], act: Callable[[psutil.Process], None]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            act(process)
