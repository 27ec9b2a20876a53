"""Client libraries get the vectors of sentence-transformers, or an error that says what to change."""

from __future__ import annotations

from typing import Any

import pytest

from tests.live.clients.bad import error_of
from tests.live.real.embeddings.embedder import EMBED, MODEL, TEXTS, TOLERANCE, farthest, post
from tests.live.servers.server import START_TIMEOUT_S, Server

pytest.importorskip("sentence_transformers", reason="the extra `embeddings` is not installed")

pytestmark = [pytest.mark.timeout(2 * START_TIMEOUT_S)]


def test_langchain_gets_the_same(embedder: Server, reference: Any) -> None:
    langchain = pytest.importorskip("langchain_openai", reason="pip install langchain-openai")
    # By default LangChain cuts texts with tiktoken, whose token ids are another model's.
    client = langchain.OpenAIEmbeddings(
        base_url=f"{embedder.url}/v1", api_key="unused", model=MODEL, check_embedding_ctx_length=False
    )
    assert farthest(client.embed_documents(TEXTS), reference.encode(TEXTS)) < TOLERANCE
    assert farthest(client.embed_query(TEXTS[0]), reference.encode(TEXTS[0])) < TOLERANCE


def test_llama_index_gets_the_same(embedder: Server, reference: Any) -> None:
    llama_index = pytest.importorskip(
        "llama_index.embeddings.openai_like",
        reason="not in the lock, it brings too much: pip install llama-index-embeddings-openai-like",
    )
    client = llama_index.OpenAILikeEmbedding(
        model_name=MODEL, api_base=f"{embedder.url}/v1", api_key="unused", embed_batch_size=3
    )
    # It joins each text into one line before it sends it.
    texts = [text.replace("\n", " ") for text in TEXTS]
    assert farthest(client.get_text_embedding_batch(texts), reference.encode(texts)) < TOLERANCE


# "Hello" with an id beyond the vocabulary, "cat", "Hello world", "the price of oil": cl100k_base.
@pytest.mark.parametrize("ids", [[9906, 100_000], [4719], [9906, 1917], [1820, 3430, 315, 5707]])
def test_token_ids_of_tiktoken_are_refused_with_the_remedy(embedder: Server, ids: list[int]) -> None:
    error = error_of(post(embedder, EMBED, model=MODEL, input=[ids]))
    assert (error["code"], error["param"]) == ("invalid_value", "input[0]")
    assert "check_embedding_ctx_length" in str(error["message"])
