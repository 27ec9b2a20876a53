"""Ends a process of the engine when the process that started it is gone, in whatever way it went.

Knows nothing of the engine. vLLM calls this in each of its processes, as a plugin: pyproject.toml names it
`vllm.general_plugins`. That is not before the engine core has spoken with the server, for which it waits five minutes;
so `app.cli`, which every process of a `twowire serve` imports first, calls it as well.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

_NAME = "end-with-the-parent"
_LOOK_EVERY_S = 0.2


def end_with_the_parent() -> None:
    """Kill this process as soon as its parent has ended; in the server's own process, do nothing.

    vLLM 0.32 sees to that for its workers, not for the engine core: a server that is killed would leave both, and the
    device's memory with them. A signal of the system (PR_SET_PDEATHSIG) comes when the parent's *thread* ends, and the
    one that starts the engine does. Test: `tests/live/real/processes/test_killed_server.py`.
    """
    is_server = multiprocessing.current_process().name == "MainProcess"
    if not is_server and all(thread.name != _NAME for thread in threading.enumerate()):
        threading.Thread(target=_watch, name=_NAME, daemon=True).start()


def _watch() -> None:
    # It is known only when this process has imported what it is to run.
    while (parent := multiprocessing.parent_process()) is None:
        time.sleep(_LOOK_EVERY_S)
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
