"""vLLM's fields that Responses and Messages share with chats."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from protocol.chat.request import ChatCompletionRequest
from protocol.completions.request import CompletionRequest
from protocol.errors import Fault, TwowireError
from protocol.extras import NO_EXTRAS, Extras
from protocol.generation import ChatPrompt, GenerationRequest, JsonOutput, TextOutput
from protocol.messages.request import MessagesRequest
from protocol.responses.request import ResponseRequest
from protocol.validation.parse import parse_request
from protocol.validation.request import ApiRequest

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
BODIES: list[tuple[type[ApiRequest], dict[str, Any]]] = [
    (ChatCompletionRequest, CHAT),
    (CompletionRequest, {"model": "m", "prompt": "hi"}),
    (ResponseRequest, {"model": "m", "input": "hi"}),
    (MessagesRequest, CHAT | {"max_tokens": 5}),
]
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}}


def asked(model: type[ApiRequest], body: dict[str, Any], **more: Any) -> GenerationRequest:
    made: GenerationRequest = parse_request(model, orjson.dumps(body | more)).generation_request()  # type: ignore[attr-defined]  # all have it
    return made


def response(**more: Any) -> GenerationRequest:
    return asked(*BODIES[2], **more)


def refused(model: type[ApiRequest], body: dict[str, Any], **more: Any) -> TwowireError:
    with pytest.raises(TwowireError) as caught:
        asked(model, body, **more)
    return caught.value


@pytest.mark.parametrize(("model", "body"), BODIES)
def test_all_apis_ask_the_engine_alike(model: type[ApiRequest], body: dict[str, Any]) -> None:
    assert asked(model, body).extras is NO_EXTRAS
    found = asked(model, body, cache_salt="mine", priority=-3, vllm_xargs={"bias": [1, "a"]}).extras
    assert found == Extras(cache_salt="mine", priority=-3, xargs={"bias": [1, "a"]})
    wrong: list[dict[str, Any]] = [
        {"cache_salt": ""},
        {"cache_salt": "a\0"},
        {"priority": 2**31},
        {"vllm_xargs": {"a": {}}},
    ]
    for bad in wrong:
        (name,) = bad
        assert (refused(model, body, **bad).param or "").startswith(name)


@pytest.mark.parametrize(
    ("given", "constraint"),
    [
        ({"regex": "a+"}, TextOutput("regex", "a+")),
        ({"choice": ["a"]}, TextOutput("choice", '["a"]')),
        ({"json": {"type": "null"}}, JsonOutput({"type": "null"})),
    ],
)
def test_a_response_takes_a_form_of_vllms(given: dict[str, Any], constraint: Any) -> None:
    found = response(structured_outputs=given)
    assert (found.constraint, found.fields.schema) == (constraint, f"structured_outputs.{next(iter(given))}")
    assert response(structured_outputs=given, text={"format": {"type": "text"}}).constraint == constraint
    error = refused(*BODIES[2], structured_outputs=given, text={"format": {"type": "json_object"}})
    assert (error.fault, error.param) == (Fault.INVALID_VALUE, "structured_outputs")


def test_a_form_that_is_no_json_goes_with_no_tools() -> None:
    error = refused(*BODIES[2], structured_outputs={"regex": "a"}, tools=[TOOL])
    assert (error.fault, error.param) == (Fault.INVALID_VALUE, "structured_outputs.regex")
    assert response(structured_outputs={"regex": "a"}, tools=[TOOL], tool_choice="none").constraint is not None
    assert response(structured_outputs={"grammar": "start: A"}).thinks is False


def test_a_response_has_arguments_for_the_template_and_stop_strings_that_stay() -> None:
    found = response(chat_template_kwargs={"enable_thinking": False, "a": 1}, include_stop_str_in_output=True)
    assert isinstance(found.prompt, ChatPrompt)
    assert found.prompt.template_kwargs == {"enable_thinking": False, "a": 1}
    assert (found.thinks, found.sampling.include_stop_str_in_output) == (False, True)
    assert not response().sampling.include_stop_str_in_output


def test_messages_refuse_what_they_would_drop() -> None:
    dropped: list[dict[str, Any]] = [
        {"chat_template_kwargs": {"a": 1}},
        {"kv_transfer_params": {"a": 1}},
        {"watermarking": True},
    ]
    for body in dropped:
        assert refused(*BODIES[3], **body).fault is Fault.UNSUPPORTED_FIELD
    assert refused(*BODIES[3], chat_template="x").fault is Fault.CHAT_TEMPLATE_REFUSED
