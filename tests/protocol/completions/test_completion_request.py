"""The fields that only a completion has."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from protocol.completions.request import CompletionRequest
from protocol.errors import Fault, TwowireError
from protocol.validation.parse import parse_request


def completion(prompt: object = "p", **fields: Any) -> CompletionRequest:
    return parse_request(CompletionRequest, orjson.dumps({"model": "m", "prompt": prompt, **fields}))


def refused(prompt: object = "p", **fields: Any) -> TwowireError:
    with pytest.raises(TwowireError) as caught:
        completion(prompt, **fields)
    return caught.value


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([0, 5], [[0, 5]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
    ],
)
def test_a_prompt_has_four_forms(prompt: object, prompts: object) -> None:
    assert completion(prompt).prompts == prompts


@pytest.mark.parametrize(
    ("prompt", "fault", "param"),
    [
        (None, Fault.MISSING_FIELD, "prompt"),
        (5, Fault.INVALID_TYPE, "prompt"),
        ({}, Fault.INVALID_TYPE, "prompt"),
        ("", Fault.INVALID_VALUE, "prompt"),
        ([], Fault.INVALID_VALUE, "prompt"),
        ([""], Fault.INVALID_VALUE, "prompt[0]"),
        ([[]], Fault.INVALID_VALUE, "prompt[0]"),
        ([[1], []], Fault.INVALID_VALUE, "prompt[1]"),
        ("a\x00", Fault.INVALID_VALUE, "prompt"),
        ([-1], Fault.INVALID_VALUE, "prompt[0]"),
        ([1, 2**31], Fault.INVALID_VALUE, "prompt[1]"),
        ([[1], [2, -1]], Fault.INVALID_VALUE, "prompt[1][1]"),
        (["a", 1], Fault.INVALID_TYPE, "prompt[1]"),
        ([1, "a"], Fault.INVALID_TYPE, "prompt[1]"),
        ([1, [2]], Fault.INVALID_TYPE, "prompt[1]"),
        ([[1], 2], Fault.INVALID_TYPE, "prompt[1]"),
        ([[1.5]], Fault.INVALID_TYPE, "prompt[0][0]"),
        ([True], Fault.INVALID_TYPE, "prompt[0]"),
        ([1, True], Fault.INVALID_TYPE, "prompt[1]"),
        ([None], Fault.INVALID_TYPE, "prompt[0]"),
        (["a"] * 1025, Fault.INVALID_VALUE, "prompt"),
        ([[1]] * 1025, Fault.INVALID_VALUE, "prompt"),
    ],
)
def test_a_wrong_prompt_is_named(prompt: object, fault: Fault, param: str) -> None:
    error = refused(prompt)
    assert (error.fault, error.param) == (fault, param)


def test_many_prompts_and_many_answers_are_bounded_together() -> None:
    assert len(completion(["a"] * 512, n=2).prompts) == 512
    error = refused(["a"] * 1000, n=128)
    assert (error.fault, error.param) == (Fault.INVALID_VALUE, "n")
    assert "128000" in error.message


def test_max_tokens_is_16_unless_given() -> None:
    assert completion().output_token_limit == 16
    assert completion(max_tokens=5).output_token_limit == 5


def test_no_tokens_at_all_only_with_echo() -> None:
    assert completion(max_tokens=0, echo=True).output_token_limit == 0
    assert refused(max_tokens=0).param == "max_tokens"
    assert refused(max_tokens=-1, echo=True).param == "max_tokens"


def test_min_tokens_is_held_against_the_default_limit() -> None:
    error = refused(min_tokens=17)
    assert error.param == "min_tokens"
    assert "(16)" in error.message


@pytest.mark.parametrize(
    ("logprobs", "fault"), [(6, Fault.INVALID_VALUE), (-1, Fault.INVALID_VALUE), (True, Fault.INVALID_TYPE)]
)
def test_logprobs_are_a_number_up_to_5(logprobs: object, fault: Fault) -> None:
    assert completion().top_logprob_count is None
    assert completion(logprobs=0).top_logprob_count == 0
    assert completion(logprobs=5).top_logprob_count == 5
    assert refused(logprobs=logprobs).fault is fault


def test_best_of_is_accepted_where_nothing_is_to_be_ranked() -> None:
    assert completion(best_of=1).choice_count == 1
    assert completion(best_of=3, n=3).choice_count == 3
    for fields in ({"best_of": 3}, {"best_of": 3, "n": 2}):
        error = refused(**fields)
        assert (error.fault, error.param) == (Fault.UNSUPPORTED_FIELD, "best_of")
    assert refused(best_of=2**40).fault is Fault.INVALID_VALUE


def test_suffix_and_echo_have_their_types() -> None:
    assert completion(suffix=" end", echo=True).suffix == " end"
    assert refused(suffix=["x"]).fault is Fault.INVALID_TYPE
    assert refused(echo="yes").fault is Fault.INVALID_TYPE


def test_the_document_can_describe_the_request() -> None:
    assert CompletionRequest.model_json_schema()["required"] == ["model", "prompt"]
