"""What a server allows of a request's extra fields."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.config import EngineConfig
from engine.requests.extras import MAX_PROMPT_CANDIDATES, check_extras, check_prompt_logprobs, extra_limits
from protocol.errors import Fault, TwowireError
from protocol.extras import Extras
from protocol.generation import ChatPrompt, GenerationRequest, Sampling, TextPrompt

CONTEXT = 100
NOTHING = extra_limits(EngineConfig())
ALL = extra_limits(
    EngineConfig(scheduling_policy="priority", min_priority=-5, allowed_xargs=("bias",), allow_kv_transfer_params=True)
)
WISHES = {
    "priority": Extras(priority=1),
    "vllm_xargs": Extras(xargs={"bias": 1}),
    "kv_transfer_params": Extras(kv_transfer_params={"a": 1}),
}


@pytest.mark.parametrize("name", WISHES)
def test_what_needs_an_option_is_refused_without_it(name: str) -> None:
    check_extras(WISHES[name], ALL, CONTEXT)
    with pytest.raises(TwowireError) as caught:
        check_extras(WISHES[name], NOTHING, CONTEXT)
    assert (caught.value.fault, caught.value.param) == (Fault.UNSUPPORTED_FIELD, name)


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        (Extras(priority=-6), "priority must be at least -5 here, got -6."),
        (Extras(xargs={"bias": 1, "other": 2}), "vllm_xargs may not set 'other' here (allowed: bias)."),
        (Extras(truncate_prompt_tokens=CONTEXT), "less than the model's context of 100 tokens, got 100."),
    ],
)
def test_the_bound_is_named(wish: Extras, says: str) -> None:
    with pytest.raises(TwowireError) as caught:
        check_extras(wish, ALL, CONTEXT)
    assert says in caught.value.message
    assert caught.value.fault.status == 400


def test_nobody_may_jump_the_queue_by_default() -> None:
    limits = replace(NOTHING, has_priorities=True)
    check_extras(Extras(priority=7), limits, CONTEXT)
    with pytest.raises(TwowireError, match="at least 0"):
        check_extras(Extras(priority=-1), limits, CONTEXT)


def asking(prompt_logprobs: int | None = None, *, n: int = 1, echo: int | None = None) -> GenerationRequest:
    """A request for a completion; `echo` is how many log probabilities it wants of what it echoes."""
    prompt, sampling = TextPrompt(["x"], echo=echo is not None), Sampling(logprobs=echo)
    return GenerationRequest(prompt, sampling, n=n, extras=Extras(prompt_logprobs=prompt_logprobs))


@pytest.mark.parametrize(
    ("request_", "candidates", "param"),
    [
        (asking(0), 1, "prompt_logprobs"),
        (asking(1), 2, "prompt_logprobs"),
        (asking(1, n=5), 10, "prompt_logprobs"),
        (asking(echo=1), 2, "logprobs"),
        (asking(1, echo=4), 5, "logprobs"),
        (asking(4, n=2, echo=1), 10, "prompt_logprobs"),
    ],
)
def test_the_report_of_a_prompt_is_bounded(request_: GenerationRequest, candidates: int, param: str) -> None:
    tokens = MAX_PROMPT_CANDIDATES // candidates
    check_prompt_logprobs(request_, tokens)
    with pytest.raises(TwowireError) as caught:
        check_prompt_logprobs(request_, tokens + 1)
    assert caught.value.param == param
    assert f"{param} asks for {(tokens + 1) * candidates} log probabilities" in caught.value.message


def test_a_prompt_that_is_not_reported_may_be_long() -> None:
    check_prompt_logprobs(asking(), 10 * MAX_PROMPT_CANDIDATES)
    chat = GenerationRequest(ChatPrompt([]), Sampling(logprobs=20))
    check_prompt_logprobs(chat, 10 * MAX_PROMPT_CANDIDATES)
