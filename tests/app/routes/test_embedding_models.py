"""Which embedding models a server has, given its options and what is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config.load import load_settings
from app.server.wiring import DEFAULT_EMBEDDING_MODEL, choose_embedder, make_services
from engine.admission.admission import AdmissionLimits
from engine.api import EngineStartError
from engine.embeddings.manager import Embedder
from engine.manager import EngineManager
from protocol.errors import TwowireError
from tests.engine.fakes import FakeFactory


def chosen(*flags: str) -> Embedder:
    return choose_embedder(load_settings(["--served-model-name", "chat", *flags], {}))


def test_switched_off_there_are_none() -> None:
    embedder = chosen("--no-embeddings")
    assert not embedder.models
    manager = EngineManager(FakeFactory(), AdmissionLimits(1, 1))
    services = make_services(load_settings([], {}), manager, embedder)
    with pytest.raises(TwowireError, match=r"There is no model for embeddings: .* \(--no-embeddings\)\."):
        services.models.check("x", "embeddings")


def test_without_the_library_there_are_none_unless_they_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.server.wiring.is_installed", lambda package: False)
    embedder = chosen()
    assert not embedder.models
    assert "not installed" in embedder.reason
    with pytest.raises(EngineStartError, match="not installed"):
        chosen("--reranker", "x=some/model")


def test_without_the_default_models_package_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.server.wiring.is_installed", lambda package: True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("app.server.wiring.bundled_embedding_model", lambda: None)
    assert not chosen().models
    ranking = chosen("--reranker", "x=some/model")
    assert ranking.models == {"x": "reranker"}


def test_named_models_take_the_place_of_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("app.server.wiring.is_installed", lambda package: True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("app.server.wiring.bundled_embedding_model", lambda: tmp_path)
    assert chosen().models == {DEFAULT_EMBEDDING_MODEL: "embedding"}
    flags = ["--embedding-model", "a=some/a", "--embedding-model", "b=some/b", "--reranker", "c=some/c"]
    models = chosen(*flags).models
    assert models == {"a": "embedding", "b": "embedding", "c": "reranker"}


@pytest.mark.parametrize(
    ("flags", "truncated"),
    [
        ([], set()),
        (["--embedding-truncate", "refuse"], set()),
        (["--embedding-truncate", "end"], {"a", "b"}),
        (["--embedding-truncate", "a=end"], {"a"}),
        (["--embedding-truncate", "end,a=refuse"], {"b"}),
    ],
)
def test_which_models_cut_what_is_too_long(
    flags: list[str], truncated: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.server.wiring.is_installed", lambda package: True)
    models = ["--embedding-model", "a=some/a", "--embedding-model", "b=some/b"]
    assert chosen(*models, *flags).truncated == truncated


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--embedding-model", "chat=some/a"], "another model as well"),
        (["--embedding-model", "a=some/a", "--reranker", "a=some/b"], "another model as well"),
        (["--embedding-model", "a=./no-such-folder"], "there is no folder"),
        (["--reranker", "a=./no-such-folder"], "--reranker: there is no folder"),
        (["--embedding-model", "a=some/a", "--embedding-matryoshka", "b"], "there is no embedding model 'b'"),
        (["--embedding-model", "a=some/a", "--embedding-truncate", "b=end"], "--embedding-truncate: there is no emb"),
    ],
)
def test_models_that_cannot_be_served_stop_the_start(
    flags: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.server.wiring.is_installed", lambda package: True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(EngineStartError, match=words):
        chosen(*flags)
