"""Responses are stored before the client can know that they have ended, failed ones too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest

from app.channel.local_backend import CHANNEL_TRANSPORT
from app.generation.api import GenerationApi, Keeping
from app.security.caller import Caller
from app.stores.responses.history import History
from protocol.encoder import Event
from protocol.errors import Fault, TwowireError
from protocol.output import Delta, Usage
from protocol.validation.parse import request_from_object
from tests.app.channel.channels import Harness, open_harness
from tests.app.generation.shout.request import ShoutRequest
from tests.app.generation.shout.response import ShoutEncoder
from tests.app.generation.shout.row import SHOUT
from tests.engine.fakes import words

STORE_FAILED = TwowireError(Fault.STORE_FAILED, "full")


class Encoder(ShoutEncoder):
    status = "running"

    def closing(self, usage: Usage) -> list[Event]:
        self.status = "completed"
        return [b"text_end", *super().closing(usage)]

    def error(self, error: TwowireError) -> list[Event]:
        self.status = "failed"
        return super().error(error)

    text_lengths: list[list[int]] = []  # noqa: RUF012  # read only

    def response(self) -> bytes:
        return self.status.encode()

    def steer(self) -> bool:
        return False


class Recorder:
    """A history that records what it is given."""

    def __init__(self) -> None:
        self.kept: list[tuple[bytes, Sequence[dict[str, Any]]]] = []
        self.failure: TwowireError | None = None

    async def before(self, previous_response_id: str | None, conversation: str | None) -> list[dict[str, Any]]:
        raise NotImplementedError

    async def item(self, item_id: str) -> dict[str, Any]:
        return {"question": f"what is {item_id}?"}

    async def keep(
        self, response: bytes, input_items: Sequence[dict[str, Any]], text_lengths: Sequence[Sequence[int]] = ()
    ) -> None:
        if self.failure is not None:
            raise self.failure
        self.kept.append((response, input_items))


async def recall(request: ShoutRequest, history: History) -> None:
    request.question = (await history.item(request.question))["question"]


KEPT: GenerationApi[ShoutRequest] = replace(
    SHOUT,
    encoder=lambda request, answer_id, created: Encoder(),
    keeping=Keeping(
        recall,
        lambda request: [{"id": "in", "question": request.question}],
        lambda request: False,
        lambda *kept: iter(()),
    ),
)
ASKED = [{"id": "in", "question": "what is q?"}]


def asked(**more: Any) -> ShoutRequest:
    return request_from_object(ShoutRequest, {"model": "guide", "question": "q", **more})


async def events_of(harness: Harness, history: Recorder) -> list[tuple[Event, int]]:
    """Each event, with how often a response had been stored by then."""
    caller = Caller.of(None, "1")
    stream = await harness.services.generation.start(
        KEPT, asked(stream=True), caller, CHANNEL_TRANSPORT, history=history
    )
    got = []
    try:
        while (events := await stream.next()) is not None:
            got += [(event, len(history.kept)) for event in events]
        assert stream.seq == len(got)
    finally:
        await stream.leave()
    return got


async def test_a_response_is_kept_before_its_last_event() -> None:
    history = Recorder()
    async with open_harness(steps=words("so", "be"), ends=True) as harness:
        events = await events_of(harness, history)
        (prepared,) = harness.engine.prepared
    assert events == [(b'{"shout":"SO"}', 0), (b'{"shout":"BE"}', 0), (b"text_end", 1), (b'{"words":2}', 1)]
    assert history.kept == [(b"completed", ASKED)]
    assert prepared.prompt.messages == [{"role": "user", "content": "what is q?"}]  # type: ignore[union-attr]  # a chat


async def test_a_response_that_cannot_be_kept_fails() -> None:
    history = Recorder()
    history.failure = STORE_FAILED
    async with open_harness(steps=words("so"), ends=True) as harness:
        events = await events_of(harness, history)
    assert events == [(b'{"shout":"SO"}', 0), (b"text_end", 0), (b'{"oops":"full"}', 0)]


async def test_a_failed_response_is_kept_too() -> None:
    history = Recorder()
    async with open_harness(steps=[[Delta(0, "so", 1)]]) as harness:
        stream = await harness.services.generation.start(
            KEPT, asked(stream=True), Caller.of(None, "1"), CHANNEL_TRANSPORT, history=history
        )
        assert await stream.next() == [b'{"shout":"SO"}']
        harness.streams[-1].fail(TwowireError(Fault.ENGINE_DIED, "gone"))
        assert await stream.next() == [b'{"oops":"gone"}']
        assert history.kept == [(b"failed", ASKED)]
        assert await stream.next() is None
        assert stream.status == "failed"
        await stream.leave()


async def test_a_whole_response_is_kept_before_it_is_sent() -> None:
    history = Recorder()
    async with open_harness(steps=words("so", "be"), ends=True) as harness:
        service, caller = harness.services.generation, Caller.of(None, "1")
        body = await service.collect(KEPT, asked(), caller, CHANNEL_TRANSPORT, history=history)
        assert orjson.loads(body) == {"shout": "SOBE"}
        assert history.kept == [(body, ASKED)]
        history.failure = STORE_FAILED
        with pytest.raises(TwowireError, match="full"):
            await service.collect(KEPT, asked(), caller, CHANNEL_TRANSPORT, history=history)
