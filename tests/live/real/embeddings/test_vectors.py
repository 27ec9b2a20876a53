"""The embedder behind a real socket, beside an engine that only counts: its vectors are sentence-transformers' own."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.live.clients.bad import error_of
from tests.live.real.embeddings.embedder import EMBED, MODEL, RANK, TEXTS, TOLERANCE, farthest, post, vectors
from tests.live.servers.server import START_TIMEOUT_S, Server

sentence_transformers = pytest.importorskip("sentence_transformers", reason="the extra `embeddings` is not installed")

pytestmark = [pytest.mark.timeout(2 * START_TIMEOUT_S)]


def test_the_sdk_gets_the_vectors_of_sentence_transformers(embedder: Server, reference: Any) -> None:
    client, expected = embedder.sdk(), reference.encode(TEXTS)
    default = client.embeddings.create(model=MODEL, input=TEXTS)
    as_float = client.embeddings.create(model=MODEL, input=TEXTS, encoding_format="float")
    for answer in (default, as_float):
        assert [item.index for item in answer.data] == list(range(len(TEXTS)))
        assert farthest([item.embedding for item in answer.data], expected) < TOLERANCE
    counted = reference.tokenizer(TEXTS)["input_ids"]
    assert default.usage.prompt_tokens == default.usage.total_tokens == sum(len(ids) for ids in counted)


async def test_the_async_sdk_does_too(embedder: Server, reference: Any) -> None:
    async with embedder.async_sdk() as client:
        answer = await client.embeddings.create(model=MODEL, input=TEXTS[0])
        assert farthest([item.embedding for item in answer.data], reference.encode(TEXTS[:1])) < TOLERANCE


def test_base64_is_of_float32(embedder: Server, reference: Any) -> None:
    answer = post(embedder, EMBED, model=MODEL, input="x", encoding_format="base64").json()
    vector = np.frombuffer(base64.b64decode(answer["data"][0]["embedding"]), dtype="<f4")
    assert farthest(vector, reference.encode("x")) < TOLERANCE


def test_token_ids_that_are_the_models_own_are_texts(embedder: Server, reference: Any) -> None:
    whole = [reference.tokenizer(text)["input_ids"] for text in TEXTS[:4]]
    expected = reference.encode(TEXTS[:4])
    assert farthest(vectors(embedder, input=whole), expected) < TOLERANCE
    assert farthest(vectors(embedder, input=whole[0]), expected[:1]) < TOLERANCE
    bare = reference.tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"]
    error = error_of(post(embedder, EMBED, model=MODEL, input=[bare]))
    assert "--embedding-token-ids allow" in str(error["message"])


def test_a_long_text_is_refused_or_cut(embedder: Server, reference: Any) -> None:
    long = ["fine", "word " * 1000]
    error = error_of(post(embedder, EMBED, model=MODEL, input=long))
    assert (error["code"], error["param"]) == ("context_length_exceeded", "input[1]")
    assert "256" in str(error["message"])
    assert "--embedding-truncate end" in str(error["message"])
    assert error_of(post(embedder, EMBED, model=MODEL, input=long[1]))["param"] == "input"
    answer = post(embedder, EMBED, model=MODEL, input=long, truncate="end").json()
    assert farthest([item["embedding"] for item in answer["data"]], reference.encode(long)) < TOLERANCE
    assert answer["usage"]["prompt_tokens"] == 3 + 256


def test_a_server_may_be_told_to_cut(embedder: Server, folders: dict[str, Path]) -> None:
    model = sentence_transformers.SentenceTransformer(str(folders["small"]), device="cpu")
    texts = ["short", "the sky is blue " * 400]
    assert farthest(vectors(embedder, model="small", input=texts), model.encode(texts)) < TOLERANCE
    error = error_of(post(embedder, EMBED, model="small", input=texts, truncate="none"))
    assert (error["code"], error["param"]) == ("context_length_exceeded", "input[1]")


def test_megabytes_are_cut_as_a_little_is(embedder: Server, reference: Any) -> None:
    for text in ("word " * 200_000, "a" * 1_000_000, "日" * 1_000_000, " x" * 500_000):
        cut = vectors(embedder, input=text, truncate="end")
        assert farthest(cut, reference.encode([text])) < TOLERANCE


def test_odd_texts_are_embedded(embedder: Server, reference: Any) -> None:
    texts = [" ", "\u200b", "\ufeff", "[CLS] [SEP] [PAD]", "\U0010ffff", "é" * 999, "a\u0301" * 50, "\r\n"]
    got = vectors(embedder, input=texts, truncate="end")
    assert farthest(got, reference.encode(texts)) < TOLERANCE


def test_prompts_are_put_in_front(embedder: Server, folders: dict[str, Path]) -> None:
    model = sentence_transformers.SentenceTransformer(str(folders["small"]), device="cpu")
    texts = ["the sky is blue", "grass"]
    for fields, prompt_name in (
        ({"task": "query"}, "query"),
        ({"task": "passage"}, "passage"),
        ({"task": "document"}, "passage"),
        ({"prompt_name": "query"}, "query"),
        ({}, None),
    ):
        expected = model.encode(texts, prompt_name=prompt_name)
        assert farthest(vectors(embedder, model="small", input=texts, **fields), expected) < TOLERANCE
    error = error_of(post(embedder, EMBED, model="small", input="x", prompt_name="nothing"))
    assert error["param"] == "prompt_name"


def test_vectors_are_shortened_where_the_model_was_trained_for_it(embedder: Server, folders: dict[str, Path]) -> None:
    model = sentence_transformers.SentenceTransformer(str(folders["small"]), device="cpu")
    texts = ["the sky is blue", "grass"]
    expected = model.encode(texts, truncate_dim=8, normalize_embeddings=True)
    assert farthest(vectors(embedder, model="small", input=texts, dimensions=8), expected) < TOLERANCE
    assert farthest(vectors(embedder, model="small", input=texts, dimensions=32), model.encode(texts)) < TOLERANCE
    error = error_of(post(embedder, EMBED, model=MODEL, input="x", dimensions=8))
    assert (error["code"], error["param"]) == ("invalid_value", "dimensions")
    assert vectors(embedder, input="x", dimensions=384).shape == (1, 384)


def test_vectors_are_scaled_as_is_asked(embedder: Server, folders: dict[str, Path]) -> None:
    model = sentence_transformers.SentenceTransformer(str(folders["small"]), device="cpu")
    expected = model.encode(["the sky"], normalize_embeddings=True)
    assert farthest(vectors(embedder, model="small", input="the sky", normalize=True), expected) < TOLERANCE
    assert abs(np.linalg.norm(vectors(embedder, input="x", normalize=False)) - 1) > 0.5


def test_documents_are_ranked_as_sentence_transformers_does(embedder: Server, folders: dict[str, Path]) -> None:
    model = sentence_transformers.CrossEncoder(str(folders["rank"]), device="cpu")
    query, documents = "what colour has the sky", ["grass is green", "the sky is blue", "a b c " * 40, "d"]
    expected = model.predict([(query, document) for document in documents])
    answer = post(embedder, RANK, model="rank", query=query, documents=documents, return_documents=True)
    results = answer.json()["results"]
    assert [result["index"] for result in results] == sorted(range(4), key=lambda index: -expected[index])
    for result in results:
        assert abs(result["relevance_score"] - expected[result["index"]]) < TOLERANCE
        assert result["document"]["text"] == documents[result["index"]]
    error = error_of(post(embedder, RANK, model="rank", query=query, documents=documents, truncate="none"))
    assert (error["code"], error["param"]) == ("context_length_exceeded", "documents[2]")


def test_all_models_are_listed(embedder: Server) -> None:
    assert [model.id for model in embedder.sdk().models.list()] == ["guide", MODEL, "small", "rank"]
