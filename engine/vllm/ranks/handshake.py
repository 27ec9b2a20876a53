"""Which ranks have not reported yet, and which are gone again, while an engine starts."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import zmq
from vllm.v1.engine import utils as engine_utils
from vllm.v1.engine.utils import CoreEngineState
from zmq.utils.monitor import parse_monitor_message

from engine.vllm.ranks.connections import FAILED


class Handshake:
    """Looks on while vLLM waits for its engine cores, in another thread."""

    def __init__(self) -> None:
        self._engines: Sequence[Any] = ()
        self._lock = threading.Lock()
        """Held while the monitor is read, which belongs to the thread that starts the engine."""
        self._monitor: zmq.Socket[bytes] | None = None
        self._ended = 0

    def missing(self) -> list[int]:
        """The ranks on other machines that have not reported; none before vLLM waits for any."""
        return [
            int.from_bytes(engine.identity, "little")
            for engine in self._engines
            if not engine.local and engine.state is CoreEngineState.NEW
        ]

    def has_lost(self) -> bool:
        """Whether more connections have ended than ranks have loaded the model: each ends its own when it has."""
        with self._lock:
            while self._monitor is not None and self._monitor.poll(0):
                event = parse_monitor_message(self._monitor.recv_multipart())["event"]
                # The end of a stranger's connection comes after its failed handshake, and counts for nothing.
                self._ended += -1 if event & FAILED else 1
        return self._ended > sum(engine.state is CoreEngineState.READY for engine in self._engines)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """For the block: see whom `launch_core_engines` waits for. vLLM 0.32 keeps that in local variables."""
        wait = engine_utils.wait_for_engine_startup

        def noted(socket: zmq.Socket[bytes], engines: Sequence[Any], *rest: Any) -> None:
            self._monitor = monitor = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | FAILED)
            self._engines = engines
            try:
                wait(socket, engines, *rest)
            finally:
                with self._lock:  # vLLM closes what belongs to its context, in this thread.
                    self._monitor = None
                socket.disable_monitor()
                monitor.close(linger=0)

        engine_utils.wait_for_engine_startup = noted
        try:
            yield
        finally:
            engine_utils.wait_for_engine_startup = wait
