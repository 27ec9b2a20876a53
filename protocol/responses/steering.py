"""What a client says while a response is made: messages of the user, for the response that goes on from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import model_validator

from protocol.errors import Fault
from protocol.responses.input.items import MessageItem
from protocol.responses.request import Input
from protocol.validation.parse import request_from_object
from protocol.validation.request import RequestModel, refusal

Item = Mapping[str, Any]

OUTPUTS = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}
"""The types of the items that answer calls, by those of the calls."""


class SteerInput(RequestModel):
    """The `input` of a steering frame."""

    input: Input

    @model_validator(mode="after")
    def _check_messages(self) -> SteerInput:
        if not self.input:
            raise refusal(Fault.INVALID_VALUE, "must not be empty.", ("input",))
        for number, item in enumerate([] if isinstance(self.input, str) else self.input):
            if not isinstance(item, MessageItem) or item.role != "user":
                raise refusal(Fault.INVALID_VALUE, "must be a message of role 'user'.", ("input", number))
        return self


def steer_items(given: Any) -> list[Item]:
    """The `input` of a steering frame as items. Raises `TwowireError`."""
    request_from_object(SteerInput, {"input": given})
    return [{"type": "message", "role": "user", "content": given}] if isinstance(given, str) else list(given)


def required_outputs(output: Sequence[Item]) -> list[Item]:
    """What must answer the calls of an output before the dialogue can go on: OpenAI's `ResponseSteerRequiredInput`.

    A call that was cut short needs no answer.
    """
    return [
        {"type": OUTPUTS[item["type"]], "call_id": item["call_id"]}
        | ({"name": item["name"]} if item["type"] == "function_call" else {})
        for item in output
        if item["type"] in OUTPUTS and item["status"] == "completed"
    ]


def with_steered(given: Any, items: Sequence[Item]) -> Any:
    """The `input` of a request with `items`: behind the outputs of calls that it begins with, as templates want them.

    What is neither a text nor a list is returned as it is.
    """
    if isinstance(given, str):
        return [*items, {"type": "message", "role": "user", "content": given}]
    if given is None:
        return list(items)
    if not isinstance(given, list):
        return given
    answers = OUTPUTS.values()
    at = next(
        (at for at, item in enumerate(given) if not isinstance(item, dict) or item.get("type") not in answers), -1
    )
    at = len(given) if at < 0 else at
    return [*given[:at], *items, *given[at:]]
