"""The channel under random sequences of frames, engine steps, failures, slow sends and lost connections.

On a fake engine. What a client may rely on is written down once, in `Client`, which reads what the channel sends.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from app.channel.session import PARSED_ASIDE_CHARS
from engine.admission.admission import AdmissionLimits
from protocol.errors import Fault, TwowireError
from protocol.output import Delta
from tests.app.channel.channels import (
    BODY,
    CANCEL,
    CREATE,
    RESUME,
    Harness,
    open_harness,
    turn,
    until,
)
from tests.app.channel.checking_client import LIMITS, NAMES, RESUME_LIMITS, Action, Client


class Run:
    """One sequence: two connections in turn, one engine."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.clients = [Client(harness.peer(LIMITS)), Client(harness.peer(LIMITS))]
        self.events = 0
        self.known: list[tuple[str, str]] = []

    async def do(self, action: Action) -> None:
        what, which, *rest = action
        await getattr(self, f"do_{what}")(which, *rest)
        for client in self.clients:
            client.read()
            self.known += [pair for pair in client.known if pair not in self.known]

    async def _ask(self, client: Client, name: str, **fields: Any) -> None:
        self.events += 1
        event = f"e{self.events}"
        if not client.peer.channel.ended.done():
            client.ask(event, name)
        await client.peer.say({"stream_id": name, "event_id": event, **fields})

    async def do_create(self, which: int, name: str, grace_s: float | None) -> None:
        resume = None if grace_s is None else {"grace_s": grace_s}
        await self._ask(self.clients[which], name, type=CREATE, body=BODY, resume=resume)

    async def do_wrong_create(self, which: int, name: str, fields: dict[str, Any]) -> None:
        await self._ask(self.clients[which], name, type=CREATE, **fields)

    async def do_large_create(self, which: int, name: str) -> None:
        body = BODY | {"user": "x" * PARSED_ASIDE_CHARS}
        await self._ask(self.clients[which], name, type=CREATE, body=body)

    async def do_resume(self, which: int, name: str, number: int, after: int, right: bool) -> None:
        id_, token = self.known[number % len(self.known)] if self.known else ("chatcmpl-none", "x")
        fields = {"id": id_, "resume_token": token if right else token + "x", "starting_after": after}
        await self._ask(self.clients[which], name, type=RESUME, **fields)

    async def do_cancel(self, which: int, name: str) -> None:
        await self.clients[which].peer.say({"type": CANCEL, "stream_id": name, "event_id": "cancel"})

    async def do_say(self, which: int, message: Any) -> None:
        await self.clients[which].peer.say(message)

    async def do_step(self, which: int, what: str) -> None:
        running = [stream for stream in self.harness.streams if not stream.closed]
        if not running:
            return
        stream = running[which % len(running)]
        if what == "fail":
            stream.fail(TwowireError(Fault.ENGINE_DIED, "The engine died."))
        elif what == "end":
            stream.end()
        else:
            stream.feed(Delta(0, what, 1))

    async def do_refuse(self, which: int) -> None:
        full = TwowireError(Fault.QUEUE_FULL, "full", retry_after_s=1)
        self.harness.engine.refusal = full if which else None

    async def do_take(self, which: int, is_slow: bool) -> None:
        takes = self.clients[which].peer.takes
        takes.clear() if is_slow else takes.set()

    async def do_drop(self, which: int, fails: bool) -> None:
        peer = self.clients[which].peer
        if fails:
            peer.failure = ConnectionResetError()
        await peer.channel.close()
        sent = len(peer.frames)
        await turn()
        assert len(peer.frames) == sent, "something was sent after the close"
        self.clients[which].read()
        self.clients[which] = Client(self.harness.peer(LIMITS))

    async def do_drain(self, which: int) -> None:
        self.clients[which].peer.channel.drain()

    async def settle(self) -> None:
        """Let everything come to its end: what has been asked must have been answered by then."""
        self.harness.engine.refusal = None
        for client in self.clients:
            client.peer.takes.set()

        def is_settled() -> bool:
            for stream in self.harness.streams:
                stream.end()
            return all(client.peer.channel.ended.done() or client.is_settled for client in self.clients)

        await until(is_settled)
        for client in self.clients:
            if not client.peer.channel.ended.done():
                assert client.peer.channel.stream_count == 0


WHICH = st.integers(0, 1)
NAME = st.sampled_from(NAMES)
GARBAGE = st.one_of(
    st.text(max_size=20),
    st.binary(max_size=8),
    st.none(),
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from([CANCEL, "ping", "pong", "x", 1, None]),
            "stream_id": st.one_of(NAME, st.sampled_from(["", "ä", "x" * 257, 1, None])),
            "event_id": st.sampled_from(["g", 1, None, "x" * 300]),
            "t": st.one_of(
                st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False), st.text()
            ),
        },
    ),
)
WRONG_FIELDS = st.sampled_from(
    [
        {"body": BODY | {"temperature": -1}},
        {"body": 1},
        {"body": {}},
        {"body": BODY, "resume": {}},
        {"body": BODY, "resume": {"grace_s": 0}},
        {},
    ]
)
GRACE_S = st.sampled_from([None, 60.0, 60.0, 0.001])
MOSTLY = st.sampled_from([True, True, True, False])
ACTIONS = st.one_of(
    st.tuples(st.just("create"), WHICH, NAME, GRACE_S),
    st.tuples(st.just("create"), WHICH, NAME, GRACE_S),
    st.tuples(st.just("wrong_create"), WHICH, NAME, WRONG_FIELDS),
    st.tuples(st.just("large_create"), WHICH, NAME),
    st.tuples(st.just("resume"), WHICH, NAME, st.integers(0, 3), st.integers(0, 2), MOSTLY),
    st.tuples(st.just("resume"), WHICH, NAME, st.integers(0, 3), st.integers(0, 2), MOSTLY),
    st.tuples(st.just("cancel"), WHICH, NAME),
    st.tuples(st.just("say"), WHICH, GARBAGE),
    st.tuples(st.just("step"), st.integers(0, 5), st.sampled_from(["x", "x", "y" * 3000, "end", "fail"])),
    st.tuples(st.just("step"), st.integers(0, 5), st.sampled_from(["x", "x", "y" * 3000, "end", "fail"])),
    st.tuples(st.just("refuse"), WHICH),
    st.tuples(st.just("take"), WHICH, st.booleans()),
    st.tuples(st.just("drop"), WHICH, st.booleans()),
    st.tuples(st.just("drain"), WHICH),
)
TURNS = st.sampled_from([0, 0, 1, 3, 10, 30])


async def play(actions: list[tuple[Action, int]], *, settles: bool) -> None:
    async with asyncio.timeout(20):
        async with open_harness(admission=AdmissionLimits(3, 1), resume=RESUME_LIMITS) as harness:
            run = Run(harness)
            for action, turns in actions:
                await run.do(action)
                await turn(turns)
            if settles:
                await run.settle()


@settings(max_examples=300)
@given(actions=st.lists(st.tuples(ACTIONS, TURNS), min_size=5, max_size=60), settles=st.booleans())
def test_whatever_comes_every_stream_has_one_end_and_nothing_is_left(
    actions: list[tuple[Action, int]], settles: bool
) -> None:
    asyncio.run(play(actions, settles=settles))


@settings(max_examples=300)
@given(
    message=st.one_of(
        GARBAGE, st.recursive(st.none() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x))
    )
)
def test_no_message_makes_the_channel_raise(message: Any) -> None:
    async def say() -> None:
        async with open_harness() as harness:
            peer = harness.peer(LIMITS)
            text = message if isinstance(message, str | bytes | None) else orjson.dumps(message).decode()
            await peer.channel.receive(text)
            assert not peer.channel.ended.done()

    asyncio.run(say())
