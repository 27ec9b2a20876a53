"""Which embedding models and rerankers the settings ask for, and whether they can be had here.

Does not know how they are run.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from engine.api import EngineStartError
from engine.embeddings.api import EmbedderConfig, Kind
from engine.embeddings.manager import Embedder
from engine.registry import bundled_embedding_model, embedder, is_installed
from engine.startup.preflight import check_sentence_model
from engine.watchdog import WatchdogLimits

if TYPE_CHECKING:
    from app.config.load import Settings

DEFAULT_EMBEDDING_MODEL = "all-MiniLM-L6-v2"
LIBRARY = "sentence_transformers"
HOW_TO_INSTALL = "install the extra twowire[embeddings]"


def no_embedder(because: str) -> Embedder:
    """One that serves nothing, and says why."""
    return Embedder(None, {}, 2, off_because=because)


def choose_embedder(settings: Settings, chat_models: Collection[str]) -> Embedder:
    """The embedder that `settings` asks for; one that serves nothing where it is switched off or not installed.

    Raises `EngineStartError` where models were named that cannot be served.
    """
    models, rerankers = dict(_named(settings.embedding_model)), dict(_named(settings.reranker))
    named = bool(models or rerankers)
    if not settings.embeddings:
        return no_embedder("embeddings are switched off (--no-embeddings)")
    if not is_installed(LIBRARY):
        if named:
            raise EngineStartError(f"--embedding-model: sentence-transformers is not installed; {HOW_TO_INSTALL}")
        return no_embedder(f"sentence-transformers is not installed; {HOW_TO_INSTALL}")
    if not settings.embedding_model:
        bundled = bundled_embedding_model()
        if bundled is None and not named:
            return no_embedder(f"no --embedding-model is given, and the default one is not installed; {HOW_TO_INSTALL}")
        if bundled is not None and DEFAULT_EMBEDDING_MODEL not in (*chat_models, *rerankers):
            models[DEFAULT_EMBEDDING_MODEL] = str(bundled)
    _check(models, rerankers, chat_models, settings)
    config = EmbedderConfig(
        models=models,
        rerankers=rerankers,
        device=settings.embedding_device,
        dtype=settings.embedding_dtype,
        threads=settings.embedding_threads,
        nice=settings.embedding_nice,
        batch_tokens=settings.embedding_batch_tokens,
        matryoshka=tuple(settings.embedding_matryoshka),
    )
    kinds: dict[str, Kind] = dict.fromkeys(models, "embedding")
    kinds.update(dict.fromkeys(rerankers, "reranker"))
    truncations = {
        name: what == "end" for name, _, what in (one.rpartition("=") for one in settings.embedding_truncate)
    }
    return Embedder(
        embedder(config),
        kinds,
        settings.embedding_max_queued,
        truncated={name for name in models if truncations.get(name, truncations.get("", False))},
        takes_any_ids=settings.embedding_token_ids == "allow",
        watchdog=WatchdogLimits(settings.heartbeat_interval_s, settings.stall_timeout_s),
    )


def _named(values: list[str]) -> list[tuple[str, str]]:
    return [(name, path) for name, _, path in (value.partition("=") for value in values)]


def _check(models: dict[str, str], rerankers: dict[str, str], chat_models: Collection[str], settings: Settings) -> None:
    for flag, named in (("--embedding-model", models), ("--reranker", rerankers)):
        for name, path in named.items():
            if name in chat_models or (named is rerankers and name in models):
                raise EngineStartError(f"{flag}: the name {name!r} is another model's, too")
            if f"{name}={path}" in (*settings.embedding_model, *settings.reranker):  # The bundled one is whole.
                check_sentence_model(path, flag)
    truncated = [one.rpartition("=")[0] for one in settings.embedding_truncate]
    for flag, names in (
        ("--embedding-matryoshka", settings.embedding_matryoshka),
        ("--embedding-truncate", list(filter(None, truncated))),
    ):
        for name in names:
            if name not in models:
                raise EngineStartError(f"{flag}: there is no embedding model {name!r}")
