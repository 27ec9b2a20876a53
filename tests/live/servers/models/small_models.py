"""Small models with random weights, made by the tests: an encoder with prompts, and a cross-encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizer

WORDS = [
    "query",
    "passage",
    ":",
    "the",
    "sky",
    "is",
    "blue",
    "grass",
    "green",
    "what",
    "colour",
    "has",
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
    "g",
]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]


def _config(**more: Any) -> BertConfig:
    return BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=48,
        initializer_range=0.5,
        **more,
    )


def _save(model: Any, folder: Path) -> None:
    folder.mkdir()
    model.save_pretrained(folder)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(VOCABULARY), "utf-8")
    BertTokenizer(str(vocabulary), model_max_length=48).save_pretrained(folder)


def make_encoder(folder: Path) -> Path:
    """A model with prompts, which its pooling leaves out; trained, as it says, for shorter vectors; not normalised."""
    torch.manual_seed(1)
    _save(BertModel(_config(is_matryoshka=True)), folder / "bert")
    transformer = Transformer(str(folder / "bert"), max_seq_length=24)
    pooling = Pooling(32, pooling_mode="mean", include_prompt=False)
    prompts = {"query": "query : ", "passage": "passage : "}
    SentenceTransformer(modules=[transformer, pooling], prompts=prompts, device="cpu").save(str(folder / "whole"))
    return folder / "whole"


def make_ranker(folder: Path) -> Path:
    """A cross-encoder."""
    torch.manual_seed(2)
    _save(BertForSequenceClassification(_config(num_labels=1)), folder / "bert")
    CrossEncoder(str(folder / "bert"), device="cpu").save_pretrained(str(folder / "whole"))
    return folder / "whole"
