"""The fields that only a chat has."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from protocol.chat.request import ChatCompletionRequest
from protocol.errors import Fault, TwowireError
from protocol.validation.parse import parse_request


def chat(**fields: Any) -> ChatCompletionRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return parse_request(ChatCompletionRequest, orjson.dumps(body))


def refused(**fields: Any) -> TwowireError:
    with pytest.raises(TwowireError) as caught:
        chat(**fields)
    return caught.value


@pytest.mark.parametrize("name", ["model", "messages"])
def test_a_required_field_that_is_absent_is_named(name: str) -> None:
    error = refused(**{name: None})
    assert (error.fault, error.param) == (Fault.MISSING_FIELD, name)
    assert error.message == f"{name} is required."


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        ("", Fault.INVALID_VALUE),
        ("x" * 257, Fault.INVALID_VALUE),
        ("a\x00", Fault.INVALID_VALUE),
        (5, Fault.INVALID_TYPE),
    ],
)
def test_model_is_a_short_name(model: object, fault: Fault) -> None:
    error = refused(model=model)
    assert (error.fault, error.param) == (fault, "model")


def test_max_completion_tokens_wins_over_max_tokens() -> None:
    assert chat(max_tokens=5).output_token_limit == 5
    assert chat(max_completion_tokens=7).output_token_limit == 7
    assert chat(max_tokens=5, max_completion_tokens=7).output_token_limit == 7


@pytest.mark.parametrize("number", [0, -1, 2**31, 2**63])
def test_max_completion_tokens_has_bounds(number: int) -> None:
    error = refused(max_completion_tokens=number)
    assert (error.fault, error.param) == (Fault.INVALID_VALUE, "max_completion_tokens")


def test_logprobs_without_a_count_report_only_the_chosen_token() -> None:
    assert chat().top_logprob_count is None
    assert chat(logprobs=False).top_logprob_count is None
    assert chat(logprobs=True).top_logprob_count == 0
    assert chat(logprobs=True, top_logprobs=20).top_logprob_count == 20


def test_no_candidates_need_no_logprobs() -> None:
    # vLLM's clients spell its defaults out.
    assert chat(top_logprobs=0).top_logprob_count is None
    assert chat(top_logprobs=0, logprobs=False).top_logprob_count is None
    assert chat(top_logprobs=0, logprobs=True).top_logprob_count == 0


def test_top_logprobs_have_bounds_and_need_logprobs() -> None:
    for fields in ({"top_logprobs": 2}, {"top_logprobs": 2, "logprobs": False}):
        assert refused(**fields).param == "top_logprobs"
    for number in (-1, 21, 2**63):
        assert refused(logprobs=True, top_logprobs=number).fault is Fault.INVALID_VALUE
    assert refused(logprobs=1).fault is Fault.INVALID_TYPE


def test_template_arguments_are_kept_as_they_are() -> None:
    arguments = {"enable_thinking": False, "nested": {"a": [1, None]}}
    assert chat(chat_template_kwargs=arguments).chat_template_kwargs == arguments


def test_template_arguments_have_bounds() -> None:
    deep: dict[str, Any] = {}
    for _ in range(40):
        deep = {"a": deep}
    assert refused(chat_template_kwargs=deep).fault is Fault.INVALID_VALUE
    assert refused(chat_template_kwargs={"a": "x" * 70_000}).fault is Fault.INVALID_VALUE
    assert refused(chat_template_kwargs=[]).fault is Fault.INVALID_TYPE


def test_the_document_can_describe_the_request() -> None:
    schema = ChatCompletionRequest.model_json_schema()
    assert schema["required"] == ["model", "messages"]
    assert "schema" in schema["$defs"]["JsonSchemaFormat"]["properties"]


HALF = [{"role": "user", "content": "count"}, {"role": "assistant", "content": "1 2 3"}]


@pytest.mark.parametrize("prompt", [{}, {"add_generation_prompt": False}, {"add_generation_prompt": None}])
def test_an_assistants_last_text_can_be_gone_on_with(prompt: dict[str, object]) -> None:
    assert chat(messages=HALF, continue_final_message=True, **prompt).continue_final_message
    assert not chat(messages=HALF).continue_final_message


@pytest.mark.parametrize(
    "last",
    [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": " \n"},
        {"role": "assistant", "refusal": ""},
        {
            "role": "assistant",
            "content": "x",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
    ],
)
def test_what_cannot_be_gone_on_with_is_refused(last: dict[str, object]) -> None:
    error = refused(messages=[*HALF, last], continue_final_message=True)
    assert (error.fault, error.param) == (Fault.INVALID_VALUE, "continue_final_message")


@pytest.mark.parametrize("same", [True, False])
def test_a_turn_is_either_begun_or_gone_on_with(same: bool) -> None:
    error = refused(messages=HALF, continue_final_message=same, add_generation_prompt=same)
    assert (error.fault, error.param) == (Fault.INVALID_VALUE, "add_generation_prompt")
    assert chat(add_generation_prompt=True).add_generation_prompt
