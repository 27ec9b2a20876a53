"""No frame overtakes those that wait, on the fast path either."""

from __future__ import annotations

import asyncio

from app.channel.outbox import Outbox

LIMIT_S = 30


class Socket:
    """Takes frames at once while it is `fast`, and otherwise when `room` is set."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.is_fast = True
        self.room = asyncio.Event()
        self.outbox = Outbox(self._send, asyncio.get_running_loop().time, self._write)

    def _write(self, frame: bytes) -> bool:
        if self.is_fast:
            self.sent.append(frame)
        return self.is_fast

    async def _send(self, frame: bytes) -> None:
        await self.room.wait()
        self.sent.append(frame)


async def test_a_frame_is_written_at_once_where_nobody_waits() -> None:
    socket = Socket()
    await socket.outbox.say(b"1")
    assert socket.outbox.write(b"2")
    assert socket.sent == [b"1", b"2"]


async def test_nothing_is_written_before_answers_that_wait() -> None:
    socket = Socket()
    socket.outbox.keep(b"1")
    assert not socket.outbox.write(b"2")
    await socket.outbox.send_answers()
    assert socket.outbox.write(b"2")
    assert socket.sent == [b"1", b"2"]


async def test_answers_are_sent_in_one_turn() -> None:
    socket = Socket()
    socket.is_fast = False
    socket.outbox.keep(b"1")
    socket.outbox.keep(b"2")
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        group.create_task(socket.outbox.send_answers())
        await asyncio.sleep(0)
        group.create_task(socket.outbox.say(b"3"))
        await asyncio.sleep(0)
        socket.room.set()
    assert socket.sent == [b"1", b"2", b"3"]


async def test_nothing_is_written_between_two_turns() -> None:
    """A lock that was released is free until its next waiter runs."""
    socket = Socket()
    async with asyncio.timeout(LIMIT_S), asyncio.TaskGroup() as group:
        async with socket.outbox.turn:
            group.create_task(socket.outbox.say(b"1"))
            await asyncio.sleep(0)
        assert not socket.outbox.turn.locked()
        assert not socket.outbox.write(b"2")
        await socket.outbox.say(b"2")
    assert socket.sent == [b"1", b"2"]


async def test_a_waiter_that_was_cancelled_holds_up_nobody() -> None:
    socket = Socket()
    async with asyncio.timeout(LIMIT_S):
        async with socket.outbox.turn:
            waiter = asyncio.create_task(socket.outbox.say(b"1"))
            await asyncio.sleep(0)
            waiter.cancel()
            await asyncio.wait({waiter})
    assert socket.outbox.write(b"2")
    assert socket.sent == [b"2"]
