"""Which ranks have reported while an engine starts, and which are gone again: over real ZeroMQ sockets."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import zmq
from vllm.v1.engine import utils as engine_utils
from vllm.v1.engine.utils import CoreEngineState

from engine.vllm.ranks.handshake import Handshake
from tests.engine.vllm.strangers import knock

SOON_S = 30


def rank(number: int, *, local: bool) -> Any:
    return SimpleNamespace(identity=number.to_bytes(2, "little"), local=local, state=CoreEngineState.NEW)


class FakeStart:
    """Waits for engine cores in a thread, as vLLM does: from a first message on, until it is told to end."""

    def __init__(self, address: str) -> None:
        self.ranks = [rank(0, local=True), rank(1, local=False)]
        self.heard, self.ends = threading.Event(), threading.Event()
        self.port = 0
        self._address = address

    def wait(self, socket: zmq.Socket[bytes], *_: object) -> None:
        socket.recv_multipart()
        self.heard.set()
        assert self.ends.wait(SOON_S)

    def run(self) -> None:
        with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
            socket.bind(self._address)
            self.port = int(socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
            engine_utils.wait_for_engine_startup(socket, self.ranks, *(None,) * 4)


async def until(condition: Any) -> None:
    async with asyncio.timeout(SOON_S):
        while not condition():  # noqa: ASYNC110  # another thread's variable
            await asyncio.sleep(0.01)


async def test_it_knows_who_is_missing_and_who_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    start, handshake = FakeStart("tcp://127.0.0.1:*"), Handshake()
    monkeypatch.setattr(engine_utils, "wait_for_engine_startup", start.wait)
    with handshake.watched():
        assert (handshake.missing(), handshake.has_lost()) == ([], False)
        running = asyncio.create_task(asyncio.to_thread(start.run))
        await until(lambda: start.port)
        with zmq.Context() as context, context.socket(zmq.DEALER) as follower:
            follower.connect(f"tcp://127.0.0.1:{start.port}")
            follower.send(b"HELLO")
            await until(start.heard.is_set)
            assert handshake.missing() == [1]
            start.ranks[1].state = CoreEngineState.CONNECTED
            assert (handshake.missing(), handshake.has_lost()) == ([], False)
            await asyncio.to_thread(knock, start.port)
            assert not handshake.has_lost()
        await until(handshake.has_lost)
        # Each ends its connection when it has loaded the model.
        start.ranks[1].state = CoreEngineState.READY
        assert not handshake.has_lost()
        start.ends.set()
        await running
        assert not handshake.has_lost()
    assert engine_utils.wait_for_engine_startup == start.wait
