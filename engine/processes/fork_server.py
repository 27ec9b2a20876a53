"""Starts processes by fork from one that has already imported what they need: Python's fork server, with our preload.

Python has no API for the fork server's process id or its socket's path; we read both where Python 3.11 to 3.14 keep
them.

Importing vLLM takes eight seconds of a processor. The engine's processes would each do it again; forked, they do not,
and an engine that died is back in a few seconds. The fork server stays for the life of the server; its memory is
shared with its children.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

from engine.processes.children import interrupts_blocked
from engine.processes.parent_watch import end_with_the_parent

ALLOWED_PROCESSORS = "TWOWIRE_FORK_SERVER_PROCESSORS"
"""For the fork server: the CPUs its parent may use, before OpenMP binds it to one."""


def start_fork_server(preload: str, environment: Mapping[str, str]) -> bool:
    """Start the fork server, unless it runs; returns at once, while it imports the module `preload`.

    `environment` is set for it alone. Returns False if it cannot be started: it ends with the thread that starts it, so
    that has to be the main one.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    multiprocessing.set_forkserver_preload([preload])
    processors = ",".join(map(str, sorted(os.sched_getaffinity(0))))
    with interrupts_blocked(), _set({**environment, ALLOWED_PROCESSORS: processors}), _own_folder():
        try:
            forkserver.ensure_running()
        except OSError:  # The path of its socket may be too long.
            return False
    return True


def is_fork_server_started() -> bool:
    """Whether this process has started a fork server."""
    return _pid() is not None


def wait_for_fork_server() -> bool:
    """Wait until the fork server has imported its module, by starting a process that does nothing; False if it failed.

    Takes seconds, so call it in a thread.
    """
    probe = FORKED.Process(target=_do_nothing, name="probe")
    try:
        probe.start()
    except (EOFError, OSError):
        return False
    probe.join()
    return probe.exitcode == 0


def stop_fork_server() -> None:
    """Kill the fork server, if there is one. It would end by itself, but only when it has imported everything."""
    pid = _pid()
    if pid is not None:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        shutil.rmtree(_folder(), ignore_errors=True)


def _pid() -> int | None:
    pid: int | None = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]  # not public
    return pid


def _do_nothing() -> None:
    pass


@contextlib.contextmanager
def _set(environment: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _own_folder() -> Iterator[None]:
    """Where multiprocessing puts the socket. Its own temporary folder outlives a process that ends with `os._exit`."""
    config = multiprocessing.current_process()._config  # type: ignore[attr-defined]  # not public
    folder = tempfile.mkdtemp(prefix="twowire-")
    before, of_old = config.get("tempdir"), _folder()
    config["tempdir"] = folder
    try:
        yield
    finally:
        config["tempdir"] = before
        # The fork server may have been running already, or have been replaced.
        shutil.rmtree(folder if of_old == _folder() else of_old, ignore_errors=True)


def _folder() -> str:
    address: str | None = forkserver._forkserver._forkserver_address  # type: ignore[attr-defined]  # not public
    return os.path.dirname(address or "")


class _Process(ForkServerProcess):
    """Takes its environment from its parent, not from the fork server."""

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_environment": dict(os.environ)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        environment = state.pop("_environment")
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        self.__dict__.update(state)

    def run(self) -> None:
        # Unlike engine cores, vLLM's coordinator of ranks loads no plugins, and would outlive a server that is killed.
        end_with_the_parent()
        super().run()


class _Context(ForkServerContext):
    Process = _Process


FORKED = _Context()
"""A context of multiprocessing: its processes come from the fork server."""
