"""Requests for vectors and rankings, and their answers: bytes in, bytes out."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from protocol.embeddings.embed import MAX_TEXT_CHARS, MAX_TEXTS, EmbeddingRequest, embedding_answer
from protocol.embeddings.rerank import RerankRequest, rerank_answer
from protocol.errors import TwowireError
from protocol.validation.parse import parse_request


def asked(**fields: Any) -> EmbeddingRequest:
    return parse_request(EmbeddingRequest, orjson.dumps({"model": "m", "input": "x"} | fields))


def ranked(**fields: Any) -> RerankRequest:
    body = {"model": "m", "query": "q", "documents": ["a", "b", "c"]} | fields
    return parse_request(RerankRequest, orjson.dumps(body))


@pytest.mark.parametrize(
    ("value", "texts", "is_single"),
    [
        ("x", ["x"], True),
        (["x", "y"], ["x", "y"], False),
        ([5, 6], [[5, 6]], True),
        ([[5, 6], [7]], [[5, 6], [7]], False),
    ],
)
def test_the_four_shapes_of_input(value: Any, texts: list[Any], is_single: bool) -> None:
    request = asked(input=value)
    assert (request.texts, request.is_single) == (texts, is_single)


def test_the_defaults_are_openais() -> None:
    request = asked()
    assert (request.encoding_format, request.dimensions, request.may_truncate) == ("float", None, None)


@pytest.mark.parametrize(("word", "may"), [("none", False), ("NONE", False), ("end", True), ("END", True)])
def test_truncation_is_asked_for_in_either_case(word: str, may: bool) -> None:
    assert asked(truncate=word).may_truncate is may


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"input": ""}, "invalid_value", "input"),
    ({"input": []}, "invalid_value", "input"),
    ({"input": ["a", ""]}, "invalid_value", "input[1]"),
    ({"input": [[]]}, "invalid_value", "input[0]"),
    ({"input": [["a"]]}, "invalid_type", "input[0][0]"),
    ({"input": ["a", 5]}, "invalid_type", "input[1]"),
    ({"input": [5, "a"]}, "invalid_type", "input[1]"),
    ({"input": [True]}, "invalid_type", "input[0]"),
    ({"input": [-1]}, "invalid_value", "input[0]"),
    ({"input": {"a": 1}}, "invalid_type", "input"),
    ({"input": 5}, "invalid_type", "input"),
    ({"input": None}, "missing_required_parameter", "input"),
    ({"input": "a\0b"}, "invalid_value", "input"),
    ({"input": ["x"] * (MAX_TEXTS + 1)}, "invalid_value", "input"),
    ({"input": "x" * (MAX_TEXT_CHARS + 1)}, "invalid_value", "input"),
    ({"model": None}, "missing_required_parameter", "model"),
    ({"model": ""}, "invalid_value", "model"),
    ({"encoding_format": "int8"}, "invalid_value", "encoding_format"),
    ({"encoding_format": 5}, "invalid_type", "encoding_format"),
    ({"dimensions": 0}, "invalid_value", "dimensions"),
    ({"dimensions": -1}, "invalid_value", "dimensions"),
    ({"dimensions": 1.5}, "invalid_type", "dimensions"),
    ({"dimensions": "4"}, "invalid_type", "dimensions"),
    ({"dimensions": 2**63}, "invalid_value", "dimensions"),
    ({"truncate": "start"}, "invalid_value", "truncate"),
    ({"truncate": True}, "invalid_type", "truncate"),
    ({"task": "summary"}, "invalid_value", "task"),
    ({"normalize": "yes"}, "invalid_type", "normalize"),
    ({"prompt_name": ""}, "invalid_value", "prompt_name"),
    ({"prompt_embeds": "AAAA"}, "unsupported_parameter", "prompt_embeds"),
    ({"truncate_prompt_tokens": 5}, "unsupported_parameter", "truncate_prompt_tokens"),
    ({"messages": []}, "unsupported_parameter", "messages"),
    ({"chat_template": "{{ 1 }}"}, "chat_template_refused", "chat_template"),
]


@pytest.mark.parametrize(("fields", "code", "param"), BAD, ids=lambda value: str(value)[:60])
def test_what_is_wrong_is_named(fields: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(TwowireError) as caught:
        asked(**fields)
    assert (caught.value.fault.code, caught.value.param) == (code, param)


def test_as_many_texts_as_may_be_are_taken() -> None:
    assert len(asked(input=["x"] * MAX_TEXTS).texts) == MAX_TEXTS


def test_an_answer_has_openais_form() -> None:
    answer = orjson.loads(embedding_answer('a "name"', [b"[0.5]", b'"AAAAPw=="'], 7))
    assert answer == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.5]},
            {"object": "embedding", "index": 1, "embedding": "AAAAPw=="},
        ],
        "model": 'a "name"',
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }


def test_documents_are_texts_or_objects() -> None:
    assert ranked(documents=["a", {"text": "b", "title": "ignored"}]).texts == ["a", "b"]


BAD_RANKINGS: list[tuple[dict[str, Any], str, str]] = [
    ({"query": ""}, "invalid_value", "query"),
    ({"query": None}, "missing_required_parameter", "query"),
    ({"query": ["q"]}, "invalid_type", "query"),
    ({"query": "x" * 10_001}, "invalid_value", "query"),
    ({"documents": []}, "invalid_value", "documents"),
    ({"documents": "a"}, "invalid_type", "documents"),
    ({"documents": ["a", ""]}, "invalid_value", "documents[1]"),
    ({"documents": [{"title": "x"}]}, "missing_required_parameter", "documents[0].text"),
    ({"documents": [5]}, "invalid_type", "documents[0]"),
    ({"documents": ["x"] * (MAX_TEXTS + 1)}, "invalid_value", "documents"),
    ({"top_n": 0}, "invalid_value", "top_n"),
    ({"max_tokens_per_doc": 5}, "unsupported_parameter", "max_tokens_per_doc"),
]


@pytest.mark.parametrize(("fields", "code", "param"), BAD_RANKINGS, ids=lambda value: str(value)[:60])
def test_what_is_wrong_with_a_ranking_is_named(fields: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(TwowireError) as caught:
        ranked(**fields)
    assert (caught.value.fault.code, caught.value.param) == (code, param)


def test_a_ranking_has_the_best_first() -> None:
    answer = orjson.loads(rerank_answer(ranked(), "rerank-1", [0.1, 0.9, 0.1], 12))
    assert answer == {
        "id": "rerank-1",
        "model": "m",
        "results": [
            {"index": 1, "relevance_score": 0.9},
            {"index": 0, "relevance_score": 0.1},
            {"index": 2, "relevance_score": 0.1},
        ],
        "usage": {"prompt_tokens": 12, "total_tokens": 12},
    }


def test_a_ranking_is_cut_and_repeats_documents_when_asked() -> None:
    answer = orjson.loads(rerank_answer(ranked(top_n=1, return_documents=True), "rerank-1", [0.1, 0.9, 0.2], 12))
    assert answer["results"] == [{"index": 1, "relevance_score": 0.9, "document": {"text": "b"}}]
