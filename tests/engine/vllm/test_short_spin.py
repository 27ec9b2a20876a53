"""Whoever waits for a message of the engine's processes polls for a moment, then sleeps, and never for long."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from vllm.distributed.device_communicators import shm_broadcast
from vllm.distributed.device_communicators.shm_broadcast import MessageQueue

from engine.vllm.short_spin import LATE_BY, ShortSpin, shorten_spin


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[MessageQueue, MessageQueue]]:
    """Its writer and its reader."""
    monkeypatch.setattr(shm_broadcast, "SpinCondition", shm_broadcast.SpinCondition)
    shorten_spin()
    writer = MessageQueue(1, 1)
    reader = MessageQueue.create_from_handle(writer.export_handle(), 0)
    yield writer, reader
    reader.shutdown()


class Poller:
    """Notes for how long it was to wait."""

    def __init__(self) -> None:
        self.limits_ms: list[int] = []

    def poll(self, timeout: int) -> list[tuple[object, int]]:
        self.limits_ms.append(timeout)
        return []


def test_a_reader_that_waits_leaves_the_processor_to_others(queue: tuple[MessageQueue, MessageQueue]) -> None:
    writer, reader = queue
    writer.enqueue("the first")
    assert reader.dequeue(timeout=60) == "the first"
    began = time.thread_time()
    with pytest.raises(TimeoutError):
        reader.dequeue(timeout=0.5)
    assert time.thread_time() - began < 0.1
    writer.enqueue("the second")
    assert reader.dequeue(timeout=60) == "the second"


def test_a_message_whose_wake_up_call_is_lost_is_found_soon(queue: tuple[MessageQueue, MessageQueue]) -> None:
    condition = queue[1]._spin_condition
    assert isinstance(condition, ShortSpin)
    condition.record_read()
    condition.poller, since = Poller(), time.monotonic() - 1
    condition.last_read = since
    condition.wait(5000)
    condition.wait(10)
    longest_ms = (time.monotonic() - since) * LATE_BY * 1000
    assert 1000 * LATE_BY <= condition.poller.limits_ms[0] <= longest_ms
    assert condition.poller.limits_ms[1] == 10, "it is never longer than vLLM's own"
