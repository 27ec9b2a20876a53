"""Loads the embedder's models by sentence-transformers, and has them compiled by OpenVINO where that computes them.

Import it lazily: torch and transformers take five seconds.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Transformer

from engine.api import EngineStartError
from engine.embeddings import compiled
from engine.embeddings.api import EmbedderConfig
from engine.embeddings.cpu_shares import processors_of
from engine.embeddings.models import Encoder, Model, Ranker, Wanted

get_threads, set_threads = torch.get_num_threads, torch.set_num_threads
"""How many processors torch uses. The setting is per thread."""


def load_models(config: EmbedderConfig) -> tuple[dict[str, Model], str]:
    """The models by their names, and the device they are on. Raises `EngineStartError`."""
    if config.threads is not None:
        set_threads(config.threads)
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    is_compiled = compiled.wants_compiled(config.backend, device, config.dtype)
    models: dict[str, Model] = {}
    for name, path in config.models.items():
        encoder = _loaded(SentenceTransformer, "--embedding-model", name, path, device, config.dtype)
        models[name] = Encoder(encoder, path, shorter=name in config.matryoshka)
        if is_compiled:
            _compile(encoder, name, config)
    for name, path in config.rerankers.items():
        ranker = _loaded(CrossEncoder, "--reranker", name, path, device, config.dtype)
        models[name] = Ranker(ranker)
        if is_compiled:
            _compile(ranker, name, config)
    for model in models.values():
        model.compute(model.tokens(["warm up"], Wanted(query="warm up")), [Wanted()])
    return models, device


def _loaded(kind: Any, flag: str, name: str, path: str, device: str, dtype: str) -> Any:
    try:
        model = kind(path, device=device, model_kwargs={"torch_dtype": getattr(torch, dtype)})
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise EngineStartError(f"{flag}: {name!r} cannot be loaded: {type(error).__name__}: {reason}") from error
    first = model[0]
    # Chat templates and routers would need the text when computing.
    if type(first) is not Transformer or "text" not in first.modality_config or "message" in first.modality_config:
        raise EngineStartError(f"{flag}: {name!r} is not supported: it must be a text encoder")
    if not getattr(first.tokenizer, "is_fast", False):
        raise EngineStartError(f"{flag}: {name!r} has no fast tokenizer (tokenizer.json)")
    if kind is CrossEncoder and model.num_labels != 1:
        raise EngineStartError(f"{flag}: {name!r} gives {model.num_labels} scores for each document, not one")
    return model.eval()


def _compile(model: Any, name: str, config: EmbedderConfig) -> None:
    """Have OpenVINO compute the model, or torch in the number format that was asked for."""
    threads = get_threads()
    lanes = processors_of("cpu", threads, set_threads).lanes
    size = sum(one.numel() for one in model.parameters())
    if config.backend == "auto" and size > compiled.MAX_PARAMETERS:
        return
    model.float()
    try:
        compiled.compile_transformer(model[0], config.dtype, threads, lanes)
    except compiled.NotCompiled as reason:
        if config.backend == "openvino":
            raise EngineStartError(f"--embedding-backend: OpenVINO cannot compute {name!r}: {reason}") from reason
        sys.stderr.write(f"{name}: computed by torch, because OpenVINO cannot: {reason}\n")
        model.to(getattr(torch, config.dtype))
