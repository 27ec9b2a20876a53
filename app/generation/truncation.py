"""Leaves out the oldest turns of a chat whose prompt is too long: `truncation: auto` of OpenAI's Responses.

A chat is cut only where a user's message begins: so no call loses its output, and the chat template sees a chat that
begins as chats do. System messages at the beginning stay. The last turn stays whole: what does not fit even then is
refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from engine.api import Prepared
from engine.manager import EngineManager
from protocol.errors import Fault, TwowireError
from protocol.generation import ChatPrompt, GenerationRequest

Message = dict[str, Any]

ROOM_SHARE = 8
"""Where the request has no limit, one part in so many of the context is left for the answer."""


async def prepare_truncated(manager: EngineManager, request: GenerationRequest, client: str) -> Prepared:
    """Prepare a chat, without its oldest turns if they leave too little room for the answer. Raises `TwowireError`.

    A chat that fits is rendered once; another one a few times more, as its turns are halved.
    """
    try:
        prepared = await manager.prepare(request, client)
    except TwowireError as error:
        if error.fault is not Fault.CONTEXT_LENGTH_EXCEEDED:
            raise
    else:
        if _fits(prepared.prompt_tokens, request, manager.max_model_len):
            return prepared
    try:
        return await manager.prepare(await _shortest_cut(manager, request, client), client)
    except TwowireError as error:
        if error.fault is not Fault.CONTEXT_LENGTH_EXCEEDED:
            raise
        message = f"{error.message} No earlier turn is left to leave out: the last one does not fit."
        raise TwowireError(error.fault, message, param=error.param) from error


async def _shortest_cut(manager: EngineManager, request: GenerationRequest, client: str) -> GenerationRequest:
    """The request with as many of its last turns as fit, and with the last one in any case."""
    assert isinstance(request.prompt, ChatPrompt)
    cuts = [replace(request, prompt=replace(request.prompt, messages=cut)) for cut in _cuts(request.prompt.messages)]
    if not cuts:
        return request
    # The first `low` are too long; the one at `high` fits, or is the last.
    low, high = 0, len(cuts) - 1
    while low < high:
        middle = (low + high) // 2
        if await _is_short(manager, cuts[middle], client):
            high = middle
        else:
            low = middle + 1
    return cuts[high]


def _cuts(messages: list[Message]) -> Iterator[list[Message]]:
    """The chat without its first turn, without its first two, and so on."""
    first = next((at for at, message in enumerate(messages) if message["role"] not in ("system", "developer")), 0)
    turns = [at for at, message in enumerate(messages) if message["role"] == "user" and at > first]
    return (messages[:first] + messages[at:] for at in turns)


async def _is_short(manager: EngineManager, request: GenerationRequest, client: str) -> bool:
    try:
        tokens = await manager.count(request, client)
    except TwowireError as error:
        if error.fault is not Fault.CONTEXT_LENGTH_EXCEEDED:
            raise
        return False
    return _fits(tokens, request, manager.max_model_len)


def _fits(prompt_tokens: int, request: GenerationRequest, max_model_len: int | None) -> bool:
    """Whether a prompt leaves room for the answer; for a limit of more than half the context, half is enough."""
    if max_model_len is None:
        return True
    wanted = request.sampling.max_tokens or max_model_len // ROOM_SHARE
    return prompt_tokens + max(min(wanted, max_model_len // 2), 1) <= max_model_len
