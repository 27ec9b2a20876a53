"""Copies the adapters named at the start, before any process of the engine is started."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from engine.adapters.api import AdapterError
from engine.adapters.base_model import base_model
from engine.adapters.config import RANKS, AdapterConfig
from engine.adapters.files import copied


@contextlib.contextmanager
def own_copies(config: AdapterConfig, model: str) -> Iterator[AdapterConfig]:
    """`config` with a folder that only this user can read, and a copy of each adapter in it; removed at the end.

    `model` is the base model's folder, or its name on the hub. Raises `AdapterError`, which names the option.
    """
    if not config.is_enabled:
        yield config
        return
    folder = Path(tempfile.mkdtemp(prefix="twowire-adapters-"))
    try:
        yield _with_copies(config, model, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _with_copies(config: AdapterConfig, model: str, folder: Path) -> AdapterConfig:
    base, found = base_model(model), []
    flags = dict.fromkeys((one.partition("=")[0] for one in config.lora), "--lora")
    for number, (name, source) in enumerate(config.named().items(), 1):
        try:
            found.append(copied(name, number, source, folder, config.max_lora_rank or RANKS[-1], base))
        except AdapterError as error:
            raise AdapterError(f"{flags.get(name, '--lora-dir')}: {name!r}: {error}") from error
    return replace(config, folder=folder, loaded=tuple(found))
