"""Notices that a rank has ended, wherever it ran, by the end of its connection to this process.

vLLM 0.32 watches its own child processes only: a rank on another machine may die unnoticed, and of local ones it tells
the streams only when all others have ended, which takes seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

FAILED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
"""A stranger connected, such as a port scan, and was no rank: libzmq reports its end next, like that of a rank."""

EXIT_CODE_S = 0.05
"""How long the system may take to report a local rank's end, after that of its connection. Meanwhile, /health still
says that the engine is ready."""
POLL_S = 0.01


class RankConnections:
    """Watches the socket on which this client sends requests: each rank is connected to it."""

    def __init__(self, core: Any) -> None:
        """`core` is vLLM's client. Must be made in the event loop."""
        self._core = core
        self._socket = core.input_socket
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | FAILED)
        self.lost = asyncio.create_task(self._wait())
        """Done when a rank's connection has ended."""

    async def _wait(self) -> None:
        strangers = 0
        while True:
            event = (await recv_monitor_message(self._monitor))["event"]
            if event & FAILED:
                strangers += 1
            elif strangers:
                strangers -= 1
            else:
                return

    async def who(self) -> str:
        """Which rank it was, as far as can be known."""
        manager, core = self._core.resources.engine_manager, self._core
        local = len(manager.processes) if manager is not None else 0
        for _ in range(int(EXIT_CODE_S / POLL_S)):
            ended = [
                f"rank {number} (exit code {process.exitcode})"
                for number, process in enumerate(manager.processes if manager is not None else ())
                if process.exitcode is not None
            ]
            if ended or not local:
                break
            await asyncio.sleep(POLL_S)
        if ended:
            return f"{', '.join(ended)} ended unexpectedly"
        remote = list(range(local, len(core.core_engines)))
        if len(remote) == 1:
            return f"rank {remote[0]}, on another machine, is gone"
        return (
            f"one of the ranks {remote[0]} to {remote[-1]}, on other machines, is gone" if remote else "a rank is gone"
        )

    async def close(self) -> None:
        """Watch no more. Must be called before vLLM closes its sockets."""
        self.lost.cancel()
        await asyncio.gather(self.lost, return_exceptions=True)
        with contextlib.suppress(zmq.ZMQError):  # It may have been closed by then.
            self._socket.disable_monitor()
        self._monitor.close(linger=0)
