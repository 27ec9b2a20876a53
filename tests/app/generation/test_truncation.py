"""`truncation: auto`: the oldest turns of a chat that is too long are left out, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from engine.api import Prepared, PreparedPrompt
from protocol.errors import Fault, TwowireError
from protocol.generation import ChatPrompt, GenerationRequest
from tests.app.routes.responses.apps import RESPONSES, App, open_app
from tests.engine.fakes import FakeEngine

CONTEXT = 100
CALL = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "o" * 10}


def said(role: str, letter: str, length: int = 20) -> dict[str, str]:
    return {"role": role, "content": letter * length}


TURNS = [said("user", "a"), said("assistant", "b"), said("user", "c"), CALL, OUTPUT, said("user", "d")]


class CountingEngine(FakeEngine):
    """A token is a character, and the context has `CONTEXT` of them."""

    max_model_len = CONTEXT

    async def prepare(self, request: GenerationRequest, client: str = "") -> Prepared:
        tokens = await self.count(request, client)
        if tokens >= CONTEXT:
            raise TwowireError(Fault.CONTEXT_LENGTH_EXCEEDED, "The prompt is too long.", param="input")
        self.prepared.append(request)
        return Prepared((PreparedPrompt(tokens, object(), object()),), tokens, 1)

    async def count(self, request: GenerationRequest, client: str = "") -> int:
        self.counted.append(request)
        self.counted_for.append(client)
        assert isinstance(request.prompt, ChatPrompt)
        return sum(len(message["content"]) for message in request.prompt.messages)


async def ask(app: App, **fields: Any) -> Any:
    return await app.ok("POST", RESPONSES, {"model": "guide", "truncation": "auto"} | fields)


def prompt_of(app: App) -> str:
    """The first letter of each message that the model has read."""
    prompt = app.engine.prepared[-1].prompt
    assert isinstance(prompt, ChatPrompt)
    return "".join(message["content"][:1] or "." for message in prompt.messages)


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({"input": TURNS[:2]}, "ab"),
        ({"input": TURNS}, "c.od"),
        ({"input": TURNS, "max_output_tokens": 10}, "abc.od"),
        ({"input": TURNS, "max_output_tokens": 11}, "c.od"),
        ({"input": TURNS, "max_output_tokens": 40, "instructions": "s" * 20}, "sd"),
        # More than half of the context is not kept free.
        ({"input": TURNS, "max_output_tokens": 90}, "c.od"),
        # The last turn stays, whatever room it leaves.
        ({"input": [*TURNS, said("user", "e", 90)], "max_output_tokens": 50}, "e"),
    ],
)
async def test_the_oldest_turns_are_left_out_until_the_answer_has_room(fields: dict[str, Any], left: str) -> None:
    async with open_app(engine=CountingEngine) as app:
        answer = await ask(app, **fields)
        assert answer["truncation"] == "auto"
        assert prompt_of(app) == left


async def test_a_last_turn_that_is_too_long_is_refused_as_ever() -> None:
    async with open_app(engine=CountingEngine) as app:
        body = {"model": "guide", "input": [*TURNS, said("user", "e", CONTEXT)]}
        for truncation, words in (("disabled", "too long."), ("auto", "the last one does not fit.")):
            status, answer = await app.call("POST", RESPONSES, body | {"truncation": truncation})
            assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
            assert answer["error"]["message"].endswith(words)


async def test_what_is_stored_stays_whole() -> None:
    async with open_app(engine=CountingEngine) as app:
        first = await ask(app, input=TURNS)
        assert len((await app.ok("GET", f"{RESPONSES}/{first['id']}/input_items"))["data"]) == len(TURNS)
        await ask(app, input=[said("user", "e")], previous_response_id=first["id"])
        assert prompt_of(app) == "c.odse"


async def test_many_turns_take_few_renders() -> None:
    async with open_app(engine=CountingEngine) as app:
        await ask(app, input=[said("user", letter) for letter in "abcdefghijklmnop" * 64])
        assert prompt_of(app) == "mnop"
        assert len(app.engine.counted) < 15
        assert "" not in app.engine.counted_for, "they are counted for the client"
