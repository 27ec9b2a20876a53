"""Requests for the tests of responses."""

from __future__ import annotations

from typing import Any

from protocol.errors import TwowireError
from protocol.generation import ChatPrompt
from protocol.responses.request import ResponseRequest
from protocol.validation.parse import request_from_object

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "name": "weather", "description": "The weather.", "parameters": CITY}


def request(**body: Any) -> ResponseRequest:
    return request_from_object(ResponseRequest, {"model": "guide", "input": "Hi", **body})


def messages(**body: Any) -> list[dict[str, Any]]:
    prompt = request(**body).generation_request().prompt
    assert isinstance(prompt, ChatPrompt)
    return prompt.messages


def refused(**body: Any) -> TwowireError:
    try:
        request(**body).generation_request()
    except TwowireError as error:
        return error
    raise AssertionError("it was not refused")
