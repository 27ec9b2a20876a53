"""Kills a process of the engine when its parent is gone, however it went.

vLLM calls this in each of its processes, as a plugin: see `vllm.general_plugins` in pyproject.toml. But only after the
engine core has spoken with the server, for which it waits up to five minutes; so `app.cli`, which every process of a
`twowire serve` imports first, calls it as well.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

_NAME = "end-with-the-parent"
_POLL_S = 0.2


def end_with_the_parent() -> None:
    """Kill this process once its parent has ended. Does nothing in the server's own process.

    vLLM 0.32 sees to that for its workers, not for the engine core: a server that is killed would leave both, and the
    device's memory with them. A signal of the system (PR_SET_PDEATHSIG) comes when the parent's *thread* ends, and the
    one that starts the engine does. Test: `tests/live/real/processes/test_killed_server.py`.
    """
    is_server = multiprocessing.current_process().name == "MainProcess"
    if not is_server and all(thread.name != _NAME for thread in threading.enumerate()):
        threading.Thread(target=_watch, name=_NAME, daemon=True).start()


def _watch() -> None:
    # Known only once this process has imported its main module.
    while (parent := multiprocessing.parent_process()) is None:
        time.sleep(_POLL_S)
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
