"""What a request may ask of a model."""

from __future__ import annotations

from typing import Any

import pytest

from engine.validation import MAX_WHOLE_LOGPROBS, allowed_template_kwargs, check_completion, check_logprobs
from protocol.chat.request import ChatCompletionRequest
from protocol.completions.request import CompletionRequest
from protocol.errors import Fault, TwowireError


def chat(**fields: Any) -> ChatCompletionRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return ChatCompletionRequest.model_validate(body)


def completion(**fields: Any) -> CompletionRequest:
    return CompletionRequest.model_validate({"model": "m", **fields})


def test_only_the_named_template_arguments_pass() -> None:
    asked = chat(chat_template_kwargs={"enable_thinking": True})
    assert allowed_template_kwargs(asked, ["enable_thinking"]) == {"enable_thinking": True}
    with pytest.raises(TwowireError) as refused:
        allowed_template_kwargs(asked, [])
    assert refused.value.fault is Fault.CHAT_TEMPLATE_REFUSED
    assert refused.value.param == "chat_template_kwargs"


def test_token_ids_must_be_in_the_vocabulary() -> None:
    check_completion(completion(prompt=[[9], [1]]), 10)
    with pytest.raises(TwowireError, match="10"):
        check_completion(completion(prompt=[[1], [2, 10]]), 10)


def test_a_suffix_is_refused() -> None:
    with pytest.raises(TwowireError) as refused:
        check_completion(completion(prompt="a", suffix="b"), 10)
    assert refused.value.param == "suffix"


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        (chat(logprobs=True, top_logprobs=9), "top_logprobs"),
        (completion(prompt="a", logprobs=4), "logprobs"),
    ],
)
def test_a_whole_answer_of_too_many_logprobs_is_refused(
    asked: ChatCompletionRequest | CompletionRequest, param: str
) -> None:
    candidates = (asked.top_logprob_count or 0) + 1
    check_logprobs(asked, MAX_WHOLE_LOGPROBS // candidates)
    with pytest.raises(TwowireError) as refused:
        check_logprobs(asked, MAX_WHOLE_LOGPROBS // candidates + 1)
    assert refused.value.param == param


def test_a_stream_and_an_answer_without_logprobs_have_no_such_bound() -> None:
    check_logprobs(chat(), MAX_WHOLE_LOGPROBS * 2)
    check_logprobs(chat(logprobs=True, top_logprobs=20, stream=True), MAX_WHOLE_LOGPROBS * 2)
