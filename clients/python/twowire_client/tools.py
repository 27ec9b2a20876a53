"""Runs the tools that a model calls, and hands their results back, until it answers."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from twowire_client.channel import Channel
from twowire_client.message import Json

MAX_ROUNDS = 8


async def run_tools(
    channel: Channel, functions: Mapping[str, Callable[..., Any]], *, max_rounds: int = MAX_ROUNDS, **body: Any
) -> list[Json]:
    """The messages that a chat gains: calls, results, and the answer, which is the last.

    `functions` are called by name with the call's arguments as keywords; they may be coroutines. What one returns is
    sent as text, or as JSON; what one raises is sent to the model as an error. `body` is the request, with `messages`
    and `tools`. After `max_rounds` rounds of calls the last message may have calls, too.
    Raises `ChannelError` or `ConnectionLost` as a generation does.
    """
    messages = list(body.pop("messages"))
    start, rounds = len(messages), 0
    while True:
        generation = await channel.create(messages=messages, **body)
        message = await generation.message()
        messages.append(message)
        calls = message.get("tool_calls", [])
        if not calls or rounds == max_rounds:
            return messages[start:]
        rounds += 1
        messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": await _result(functions, call)} for call in calls
        ]


async def _result(functions: Mapping[str, Callable[..., Any]], call: Json) -> str:
    try:
        if call["type"] == "custom":
            result = functions[call["custom"]["name"]](call["custom"]["input"])
        else:
            result = functions[call["function"]["name"]](**json.loads(call["function"]["arguments"] or "{}"))
        if inspect.isawaitable(result):
            result = await result
    except Exception as error:
        # The model can correct what it got wrong.
        return f"error: {type(error).__name__}: {error}"
    return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
