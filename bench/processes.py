"""A server that is measured, as a process: its port, its start, and its end with whatever it began."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import psutil

START_S = 300.0
STOP_S = 30.0


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextmanager
def process_of(
    command: Sequence[str], environment: Mapping[str, str], **streams: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """The process of `command`, ended in the end, and its children with it; silent, unless `streams` say otherwise."""
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=os.environ | environment, **(quiet | streams))
    try:
        yield process
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()


def wait_answer(name: str, process: subprocess.Popen[bytes], ask: Callable[[], httpx.Response]) -> None:
    """Return once `ask()` is answered with 200; ends this program where the server has ended or takes too long."""
    deadline = time.monotonic() + START_S
    while True:
        with suppress(httpx.TransportError):
            if ask().status_code == 200:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{name} did not start: {process.args!r}")
        time.sleep(0.2)  # Between two questions.
