"""What a server allows of a request's extra fields."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.config import EngineConfig
from engine.extras import check_extras, check_prompt_logprobs, extra_limits
from engine.validation import MAX_WHOLE_LOGPROBS
from protocol.errors import Fault, TwowireError
from protocol.extras import Extras

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


def test_the_report_of_a_prompt_is_bounded() -> None:
    check_prompt_logprobs(Extras(prompt_logprobs=1), MAX_WHOLE_LOGPROBS // 2)
    with pytest.raises(TwowireError, match="prompt_logprobs asks for") as caught:
        check_prompt_logprobs(Extras(prompt_logprobs=1), MAX_WHOLE_LOGPROBS // 2 + 1)
    assert caught.value.param == "prompt_logprobs"
