"""OpenVINO in place of torch: the same vectors and scores, or torch again."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest

pytest.importorskip("sentence_transformers", reason="the extra `embeddings` is not installed")
pytest.importorskip("openvino", reason="the extra `openvino` is not installed")

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

from engine.api import EngineStartError
from engine.embeddings import compiled, loading
from engine.embeddings.api import EmbedderConfig
from engine.embeddings.models import Wanted

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "sky", "is", "blue", "grass", "green", "a", "b"]
TEXTS = ["the sky is blue", "a", "grass is green " * 9]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A tiny encoder and a tiny cross-encoder with random weights."""
    torch.manual_seed(1)
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    )
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, num_labels=1,
    )  # fmt: skip
    found = {}
    for name, kind in (("encoder", BertModel), ("ranker", BertForSequenceClassification)):
        folder = tmp_path_factory.mktemp(name)
        kind(config).save_pretrained(folder)
        fast.save_pretrained(folder)
        found[name] = str(folder)
    whole = tmp_path_factory.mktemp("whole")
    first = Transformer(found["encoder"])
    SentenceTransformer(modules=[first, Pooling(32)]).save(str(whole))
    return found | {"encoder": str(whole)}


def config_of(folders: dict[str, str], **options: Any) -> EmbedderConfig:
    return EmbedderConfig(models={"e": folders["encoder"]}, rerankers={"r": folders["ranker"]}, threads=2, **options)


Load = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def load(folders: dict[str, str]) -> Load:
    """The models, loaded once for each set of options."""
    return functools.cache(lambda **options: loading.load_models(config_of(folders, **options))[0])


def values(model: Any) -> Any:
    wanted = Wanted(query="the sky")
    return np.array([orjson.loads(one) for one in model.compute(model.tokens(TEXTS, wanted), [wanted] * len(TEXTS))])


def is_compiled(model: Any) -> bool:
    return isinstance(model._model[0].model, compiled.Compiled)


@pytest.mark.parametrize("name", ["e", "r"])
def test_values_are_those_of_torch(load: Load, name: str) -> None:
    assert is_compiled(load()[name])
    found, expected = values(load()[name]), values(load(backend="torch")[name])
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()
    assert np.unique(expected.round(6), axis=0).shape == expected.shape


def test_bfloat16_is_near(load: Load) -> None:
    model = load(dtype="bfloat16")["e"]
    assert is_compiled(model)
    found, expected = values(model), values(load(backend="torch")["e"])
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.parametrize("factor", [2.0, float("nan")])
def test_a_model_whose_values_would_differ_stays_with_torch(
    factor: float, folders: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    plain = BertModel.forward

    def branching(self: Any, input_ids: Any, **rest: Any) -> Any:
        # The tracer follows the branch that its example takes, and forgets the other.
        output = plain(self, input_ids=input_ids, **rest)
        if input_ids.shape[1] > 30:
            output["last_hidden_state"] = output["last_hidden_state"] * factor
        return output

    monkeypatch.setattr(BertModel, "forward", branching)
    config = config_of(folders)
    assert not is_compiled(loading.load_models(config)[0]["e"])
    assert "computed by torch, because OpenVINO cannot: its values would be" in capfd.readouterr().err
    with pytest.raises(EngineStartError, match=r"--embedding-backend: OpenVINO cannot compute 'e'"):
        loading.load_models(replace(config, backend="openvino"))


def test_a_batch_has_the_processors_that_its_thread_is_given(load: Load) -> None:
    model = load()["e"]
    inner, wanted = model._model[0].model, [Wanted()]
    before = loading.get_threads()
    try:
        for count, name in ((2, "whole"), (1, "shared")):
            inner._mine = threading.local()
            loading.set_threads(count)
            model.compute(model.tokens(["a"], Wanted()), wanted)
            assert list(vars(inner._mine)) == [name]
    finally:
        loading.set_threads(before)
    assert [one.get_property("NUM_STREAMS") for one in (inner._whole, inner._shared)] == [1, 2]


def test_a_large_model_stays_with_torch(folders: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "MAX_PARAMETERS", 1000)
    assert not is_compiled(loading.load_models(config_of(folders))[0]["e"])
    assert is_compiled(loading.load_models(config_of(folders, backend="openvino"))[0]["e"])


def test_a_value_that_is_no_number_is_no_answer(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(backend="torch")["e"]
    monkeypatch.setattr(
        model, "_modules", [lambda features: {"sentence_embedding": torch.tensor([[1.0], [float("nan")]])}]
    )
    pieces = model.compute(model.tokens(["a", "b"], Wanted()), [Wanted()] * 2)
    assert (bool(pieces[0]), pieces[1]) == (True, b"")


def test_torch_computes_where_openvino_is_not_installed(
    folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "is_installed", lambda: False)
    assert not is_compiled(loading.load_models(config_of(folders))[0]["e"])
    with pytest.raises(EngineStartError, match=r"twowire\[openvino\]"):
        loading.load_models(config_of(folders, backend="openvino"))
    with pytest.raises(EngineStartError, match="computes on a CPU, in float32 or bfloat16, only"):
        loading.load_models(config_of(folders, backend="openvino", dtype="float16"))


def test_nothing_reports_to_the_makers_of_openvino() -> None:
    assert compiled.is_installed()
    assert sys.modules["openvino_telemetry"] is None
