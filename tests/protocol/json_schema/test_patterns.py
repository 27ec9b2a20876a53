"""Counted repeats that multiply, and the schemas that are refused for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.chat.request import ChatCompletionRequest
from protocol.errors import Fault, TwowireError
from protocol.json_schema.bounds import Sums
from protocol.json_schema.patterns import _TOKEN, checked_pattern, nested_repeats
from protocol.validation.parse import request_from_object


@pytest.mark.parametrize(
    ("pattern", "product"),
    [
        ("", 1),
        ("abc*", 1),
        ("a{3}", 3),
        ("a{2,7}b{5}", 7),
        ("(a{2}b){3}", 6),
        ("((a{0,30}){0,30}){0,30}", 27_000),
        ("(?:a{4,}|b{2}){5}", 20),
        (r"\(a{9}\){2}", 9),
        (r"[({2}]{6}", 6),
        (r"[\]{5}]{2}", 2),
        ("(a{2})(b{3}){4}", 12),
        ("a{0}", 1),
        ("){2}(", 2),
        ("{3}", 3),
        ("a{,5}", 1),
    ],
)
def test_products_of_nested_repeats(pattern: str, product: int) -> None:
    assert nested_repeats(pattern) == product


def test_a_class_that_is_not_closed_is_looked_for_once() -> None:
    # Its end would otherwise be looked for from each bracket on.
    assert [token.group() for token in _TOKEN.finditer("a" + "[" * 500 + "\\")] == ["a", "[" * 500 + "\\"]
    assert checked_pattern("[" * 500, "#", Sums()) == "[" * 500
    assert checked_pattern("[]", "#", Sums()) == "[]"


@given(st.text(alphabet="a()[]{}\\,0123456789*+?^|", max_size=200))
def test_no_text_is_too_odd(pattern: str) -> None:
    assert nested_repeats(pattern) >= 1


def ask(pattern: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}}
    request_from_object(
        ChatCompletionRequest,
        {
            "model": "m",
            "messages": [{"role": "user", "content": "a"}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}},
        },
    )


def test_a_pattern_whose_repeats_multiply_too_far_is_refused_with_the_number() -> None:
    with pytest.raises(TwowireError) as refused:
        ask("((a{0,30}){0,30}){0,30}")
    assert refused.value.fault is Fault.INVALID_SCHEMA
    assert "27000" in refused.value.message
    ask(r"^\d{4}-\d{2}-\d{2}(,[a-z]{1,64}){0,16}$")
