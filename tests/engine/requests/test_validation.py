"""What a request may ask of a model."""

from __future__ import annotations

from typing import Any

import pytest

from engine.requests.validation import MAX_WHOLE_LOGPROBS, allowed_template_kwargs, check_logprobs, check_token_ids
from protocol.chat.request import ChatCompletionRequest
from protocol.completions.request import CompletionRequest
from protocol.errors import Fault, TwowireError
from protocol.generation import ChatPrompt, GenerationRequest


def chat(**fields: Any) -> GenerationRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return ChatCompletionRequest.model_validate(body).generation_request()


def completion(**fields: Any) -> GenerationRequest:
    return CompletionRequest.model_validate({"model": "m", **fields}).generation_request()


def test_only_the_named_template_arguments_pass() -> None:
    asked = chat(chat_template_kwargs={"enable_thinking": True}).prompt
    assert isinstance(asked, ChatPrompt)
    assert allowed_template_kwargs(asked, ["enable_thinking"]) == {"enable_thinking": True}
    with pytest.raises(TwowireError) as refused:
        allowed_template_kwargs(asked, [])
    assert refused.value.fault is Fault.CHAT_TEMPLATE_REFUSED
    assert refused.value.param == "chat_template_kwargs"


def test_token_ids_must_be_in_the_vocabulary() -> None:
    check_token_ids([[9], "text", [1]], 10, "prompt")
    with pytest.raises(TwowireError, match="10") as refused:
        check_token_ids([[1], [2, 10]], 10, "prompt")
    assert refused.value.param == "prompt"


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        (chat(logprobs=True, top_logprobs=9), "top_logprobs"),
        (completion(prompt="a", logprobs=4), "logprobs"),
    ],
)
def test_a_whole_answer_of_too_many_logprobs_is_refused(asked: GenerationRequest, param: str) -> None:
    candidates = (asked.sampling.logprobs or 0) + 1
    check_logprobs(asked, MAX_WHOLE_LOGPROBS // candidates)
    with pytest.raises(TwowireError) as refused:
        check_logprobs(asked, MAX_WHOLE_LOGPROBS // candidates + 1)
    assert refused.value.param == param


def test_a_stream_and_an_answer_without_logprobs_have_no_such_bound() -> None:
    check_logprobs(chat(), MAX_WHOLE_LOGPROBS * 2)
    check_logprobs(chat(logprobs=True, top_logprobs=20, stream=True), MAX_WHOLE_LOGPROBS * 2)
