"""Many connections that are opened at once, and how long each has to wait."""

from __future__ import annotations

import contextlib
import resource
import select
import socket
import time
from collections.abc import Iterator

BURST = 512
AT_ONCE_S = 0.2
LATE_S = 2.0
"""What is not open by then is not waited for. A first packet that is dropped is sent again after a second."""


@contextlib.contextmanager
def _many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * BURST)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def waits_of_a_burst(port: int) -> list[float]:
    """How many seconds each of `BURST` connections takes from its first packet on; `LATE_S` where it is late."""
    started: dict[int, float] = {}
    waits: dict[int, float] = {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(_many_files())
        poll = stack.enter_context(contextlib.closing(select.epoll()))
        for _ in range(BURST):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            started[client.fileno()] = time.monotonic()
            client.connect_ex(("127.0.0.1", port))
            poll.register(client, select.EPOLLOUT | select.EPOLLONESHOT)
        deadline = time.monotonic() + LATE_S
        while len(waits) < BURST and time.monotonic() < deadline:
            for number, event in poll.poll(0.1):
                assert event == select.EPOLLOUT, "a connection was refused"
                waits[number] = time.monotonic() - started[number]
    return [waits.get(number, LATE_S) for number in started]
