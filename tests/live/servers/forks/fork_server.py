"""A process that has imported what the fake server needs, and forks: its servers start in a tenth of the time.

`tests.live.servers.forks.forked` runs it, and gives it a socket as its standard input. Each message on it is a start:
the arguments and the environment, and where its output and its end are to be written.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import socket
import sys

import tests.live.servers.fake_server  # noqa: F401  # for those that it forks

PROGRAM = "tests.live.servers.fake_server"
MAX_START_BYTES = 2**17


def main() -> None:
    """Returns in a process that has been forked for a start, ready to be that server."""
    gc.freeze()
    with socket.socket(fileno=os.dup(0)) as starts:
        while True:
            message, files, *_ = socket.recv_fds(starts, MAX_START_BYTES, 2)
            if not message:
                os._exit(0)
            _reap()
            if os.fork() == 0:
                break
            for file in files:
                os.close(file)
    output, end = files
    _watch_over_a_fork(output, end)
    os.close(end)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for file, its in enumerate((nothing, output, output)):
        os.dup2(its, file)
    os.close(nothing)
    os.close(output)
    start = json.loads(message)
    os.environ.clear()
    os.environ.update(start["environment"])
    sys.argv = [PROGRAM, *start["arguments"]]


def _reap() -> None:
    """Let go of those that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _watch_over_a_fork(output: int, end: int) -> None:
    """Returns in a fork, whose exit code its parent then writes to `end`: only the parent of a process learns it.

    It stays a zombie, whose id nobody else gets, until that has been read.
    """
    forked = os.fork()
    if forked == 0:
        return
    os.close(output)
    os.write(end, b"%d" % forked)
    ended = os.waitid(os.P_PID, forked, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
    os.write(end, b"%d" % code)
    os.read(end, 1)
    os._exit(0)


if __name__ == "__main__":
    main()
    # It is run once more, for what this environment says; what it imports is there.
    del sys.modules[PROGRAM]
    runpy.run_module(PROGRAM, run_name="__main__", alter_sys=True)
