"""How many tokens an answer may have."""

from __future__ import annotations

import pytest

from engine.requests.max_tokens import max_tokens_for
from protocol.chat.request import ChatCompletionRequest
from protocol.errors import Fault, TwowireError
from protocol.generation import Sampling


def chat(**fields: int) -> Sampling:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return ChatCompletionRequest.model_validate(body).sampling


def test_a_chat_without_a_limit_may_fill_the_context() -> None:
    assert max_tokens_for(chat(), 30, 100, None, "messages") == 70


def test_the_models_own_limit_holds_where_none_was_asked_for() -> None:
    assert max_tokens_for(chat(), 30, 100, 20, "messages") == 20
    assert max_tokens_for(chat(max_tokens=40), 30, 100, 20, "messages") == 40


def test_a_limit_that_only_this_prompt_leaves_no_room_for_is_cut() -> None:
    assert max_tokens_for(chat(max_tokens=90), 30, 100, None, "messages") == 70


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("limit", [101, 65_535, 2**31 - 1])
def test_a_limit_above_the_context_is_cut_to_what_the_prompt_leaves(field: str, limit: int) -> None:
    assert max_tokens_for(chat(**{field: limit}), 30, 100, 20, "messages") == 70


def test_a_prompt_that_fills_the_context_is_refused() -> None:
    with pytest.raises(TwowireError) as refused:
        max_tokens_for(chat(), 100, 100, None, "messages")
    assert (refused.value.fault, refused.value.param) == (Fault.CONTEXT_LENGTH_EXCEEDED, "messages")


def test_min_tokens_must_fit_what_is_left() -> None:
    with pytest.raises(TwowireError) as refused:
        max_tokens_for(chat(min_tokens=71), 30, 100, None, "messages")
    assert refused.value.param == "min_tokens"
    assert max_tokens_for(chat(min_tokens=70), 30, 100, None, "messages") == 70


def test_an_echo_alone_still_costs_the_engine_one_token() -> None:
    assert max_tokens_for(Sampling(max_tokens=0), 1, 100, None, "prompt") == 1
