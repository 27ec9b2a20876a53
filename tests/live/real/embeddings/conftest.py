"""One server with the embedder and two small models, for all tests in this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.registry import bundled_embedding_model
from tests.live.real.embeddings.embedder import MODEL, in_embedder, is_ready
from tests.live.servers.server import START_TIMEOUT_S, Server, start_fake_server, stop_server


@pytest.fixture(scope="package")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    pytest.importorskip("sentence_transformers", reason="the extra `embeddings` is not installed")
    from tests.live.servers.models.small_models import make_encoder, make_ranker  # It needs sentence-transformers.

    default = bundled_embedding_model()
    assert default is not None
    small = make_encoder(tmp_path_factory.mktemp("encoder"))
    return {MODEL: default, "small": small, "rank": make_ranker(tmp_path_factory.mktemp("ranker"))}


@pytest.fixture(scope="package")
def shared_embedder(folders: dict[str, Path]) -> Iterator[Server]:
    flags = [word for name in (MODEL, "small") for word in ("--embedding-model", f"{name}={folders[name]}")]
    flags += ["--embedding-truncate", "small=end"]
    server = start_fake_server("--embeddings", *flags, "--reranker", f"rank={folders['rank']}")
    server.wait_until(lambda: is_ready(server), START_TIMEOUT_S, "the embedder is not ready")
    yield server
    assert stop_server(server) == 0, "".join(server.log[-60:])


@pytest.fixture
def embedder(shared_embedder: Server) -> Iterator[Server]:
    """The shared server, with its embedder ready; fails the test that leaves a text behind in it."""
    shared_embedder.wait_until(lambda: is_ready(shared_embedder), START_TIMEOUT_S, "the embedder is not ready")
    yield shared_embedder
    assert shared_embedder.process.poll() is None
    shared_embedder.wait_until(lambda: not in_embedder(shared_embedder), 10, "texts were left behind")


@pytest.fixture(scope="package")
def reference(folders: dict[str, Path]) -> Any:
    import sentence_transformers

    return sentence_transformers.SentenceTransformer(str(folders[MODEL]), device="cpu")
