"""Makes vLLM's engine core and its workers sleep while they wait for each other, instead of taking a core.

Written for vLLM 0.32. They talk through shared memory. Whoever waits for a message polls that memory for a second after
the last one, and sleeps only then. On a CPU, the model's threads, or other programs, need that core.
"""

from __future__ import annotations

import time

from vllm.distributed.device_communicators import shm_broadcast

SPIN_S = 0.001
"""How long to poll after a message. To be woken takes 0.1 ms, which the steps of a small model would notice."""
LATE_BY = 0.05
"""The longest sleep, as a share of the time since the last message."""


class ShortSpin(shm_broadcast.SpinCondition):  # type: ignore[misc]  # vllm is not followed
    """Polls for `SPIN_S` after a message, then sleeps until it is woken, and looks now and then by itself.

    A wake-up call can be lost. The writer's socket holds only one, and ZeroMQ may notice a millisecond late that the
    last was taken; until then it drops the next. vLLM's own reader finds such a message five seconds later.
    """

    def record_read(self) -> None:
        super().record_read()
        self.busy_loop_s = SPIN_S

    def wait(self, timeout_ms: int | None = None) -> None:
        """As vLLM's, but no longer than a share of the time since the last message."""
        limit_ms = max(1, int((time.monotonic() - self.last_read) * LATE_BY * 1000))
        super().wait(limit_ms if timeout_ms is None else min(timeout_ms, limit_ms))


def shorten_spin() -> None:
    """For all message queues that this process, or one forked from it, makes from now on."""
    shm_broadcast.SpinCondition = ShortSpin
