"""The end of a process that has imported vLLM."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys


def skip_the_last_collection(code: int) -> None:
    """Make the process exit with `code` without Python's final garbage collection.

    That would search all of vLLM's objects for cycles, for five seconds, when everything is already closed. After an
    early stop, nothing else can end a thread that is still importing vLLM.
    """
    if "vllm" not in sys.modules:
        return

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # Nobody reads it anymore.
                stream.flush()
        os._exit(code)

    atexit.register(leave)
