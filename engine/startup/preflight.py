"""Checks a model's files before anything is loaded: takes milliseconds, and its errors name the file.

Imports neither vLLM nor torch. What passes may still fail when the model is loaded: see `engine.startup.failure`.
"""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import orjson
import psutil

from engine.api import EngineStartError

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer.model.v*",
    "tekken.json",
    "vocab.json",
    "vocab.txt",
    "*.tiktoken",
    "tiktoken.model",
    "spiece.model",
    "sentencepiece*.model",
    "tokenization*.py",
    "*.gguf",
)
"""Every model has at least one of these."""

WEIGHT_FILES = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf")
"""Only the first kind that exists is loaded."""

TRAINING_FILES = {"training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth"}
"""Files that match `WEIGHT_FILES` but are not weights."""

LOADED_FROM_FILES = ("auto", "hf", "safetensors")
"""The values of vLLM's `load_format` for which the weights are checked."""

MAX_HEADER_BYTES = 100_000_000
"""The maximum size of a safetensors file's header (https://github.com/huggingface/safetensors#format)."""

LFS_POINTER = b"version https://git-lfs"


def check_model(model: str, flag: str = "--model", *, load_format: str = "auto", own_tokenizer: bool = True) -> None:
    """Raise `EngineStartError` if `model` cannot be served: a folder whose files are missing, broken or truncated, or a
    hub name that cannot be downloaded.

    `load_format` is vLLM's. `own_tokenizer`: the tokenizer is the model's own, not one set separately.
    """
    if "://" in model or model.endswith(".gguf"):
        return
    looks_like_path = model.startswith((".", "/", "~")) or model.count("/") > 1
    folder = Path(model).expanduser()
    if not folder.is_dir():
        if looks_like_path:
            raise EngineStartError(f"{flag}: there is no folder {model!r}")
        _check_hub(model, flag)
        return
    try:
        _check_config(folder, model)
        if own_tokenizer:
            _check_tokenizer(folder, model)
        if load_format in LOADED_FROM_FILES:
            _check_weights(folder, model)
    except EngineStartError as error:
        raise EngineStartError(f"{flag}: {error}") from error.__cause__
    except OSError as error:
        raise EngineStartError(f"{flag}: cannot read {error.filename!r}: {error.strerror}") from error


def check_sentence_model(model: str, flag: str) -> None:
    """`check_model` for a sentence-transformers model, whose parts may be in subfolders."""
    folder = Path(model).expanduser()
    modules = folder / "modules.json"
    if folder.is_dir() and modules.is_file():
        try:
            parts = _json(modules)
        except EngineStartError as error:
            raise EngineStartError(f"{flag}: {error}") from error.__cause__
        if isinstance(parts, list):
            for part in parts:
                if isinstance(part, dict) and str(part.get("type")).endswith(".Transformer"):
                    check_model(str(folder / str(part.get("path") or "")), flag)
            return
    check_model(model, flag)


def check_memory(cache_gib: int) -> None:
    """Raise `EngineStartError` if this machine's free memory is too small for a KV cache of `cache_gib`."""
    free_gib = psutil.virtual_memory().available / 2**30
    if cache_gib > free_gib:
        raise EngineStartError(
            f"--cpu-kv-cache-gib: the KV cache needs {cache_gib} GiB, but only {free_gib:.1f} GiB of memory are free"
        )


def _check_hub(name: str, flag: str) -> None:
    """If the hub is switched off, the model must be in its cache."""
    try:
        from huggingface_hub import constants, try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError
    except ImportError:  # Without it, nothing is loaded from the hub.
        return
    try:
        in_cache = isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError as error:
        reason = f"there is no such folder, and it is not a name on the Hugging Face hub: {error}"
        raise EngineStartError(f"{flag}: {name!r}: {reason}") from error
    # vLLM can load from another hub.
    if constants.HF_HUB_OFFLINE and not in_cache and not os.environ.get("VLLM_USE_MODELSCOPE"):
        raise EngineStartError(
            f"{flag}: there is no folder {name!r}, and as a name on the Hugging Face hub it cannot be downloaded: the "
            f"hub is switched off (HF_HUB_OFFLINE), and {constants.HF_HUB_CACHE} holds no copy"
        )


def _check_config(folder: Path, model: str) -> None:
    path = folder / "config.json"
    if not path.is_file():
        if (folder / "params.json").is_file() or any(folder.glob("*.gguf")):
            return  # Mistral's format, or one file that holds everything.
        raise EngineStartError(f"the folder {model!r} holds no config.json")
    config = _json(path)
    if not isinstance(config, dict):
        raise EngineStartError(f"{str(path)!r} is not a model's configuration: it must be a JSON object")
    if not (config.get("architectures") or config.get("model_type")):
        raise EngineStartError(f"{str(path)!r} names neither architectures nor a model_type")


def _check_tokenizer(folder: Path, model: str) -> None:
    if not any(True for pattern in TOKENIZER_FILES for _ in folder.glob(pattern)):
        raise EngineStartError(
            f"the folder {model!r} holds no tokenizer: no tokenizer.json, tokenizer.model or the like"
        )
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = folder / name
        if path.is_file() and not isinstance(_json(path), dict):
            raise EngineStartError(f"{str(path)!r} must be a JSON object")


def _check_weights(folder: Path, model: str) -> None:
    weights = _named_in_index(folder)
    for pattern in WEIGHT_FILES:
        weights = weights or [path for path in sorted(folder.glob(pattern)) if path.name not in TRAINING_FILES]
    if not weights:
        raise EngineStartError(f"the folder {model!r} holds no weights: no *.safetensors or the like")
    for path in weights:
        _check_file(path)


def _named_in_index(folder: Path) -> list[Path]:
    """The files that the index of the weights names, if there is one."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return []
    content = _json(index)
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict):
        raise EngineStartError(f"{str(index)!r} has no weight_map")
    named = [folder / name for name in sorted({str(name) for name in weight_map.values()})]
    for path in named:
        if not path.is_file():
            raise EngineStartError(f"the folder holds no {path.name}, which {str(index)!r} names")
    return named


def _check_file(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(max(8, len(LFS_POINTER)))
        if start.startswith(LFS_POINTER):
            raise EngineStartError(
                f"{str(path)!r} is a pointer of Git LFS, not the file itself; `git lfs pull` brings that"
            )
        if path.suffix == ".safetensors":
            expected = _safetensors_size(path, size, start)
            if size != expected:
                raise EngineStartError(
                    f"{str(path)!r} is incomplete: it has {size} bytes, but its header says {expected}; download or"
                    " copy it again"
                )
    # torch's files are ZIP archives, with the directory at the end.
    if start.startswith(b"PK") and not zipfile.is_zipfile(path):
        raise EngineStartError(f"{str(path)!r} is incomplete; download or copy it again")


def _safetensors_size(path: Path, size: int, start: bytes) -> int:
    """The size that the file's header implies: 8 bytes for the header's length, the header, the tensors."""
    if size < 8:
        raise EngineStartError(f"{str(path)!r} is incomplete: it has {size} bytes; download or copy it again")
    (length,) = struct.unpack("<Q", start[:8])
    if length > MAX_HEADER_BYTES:
        raise EngineStartError(f"{str(path)!r} is not a safetensors file")
    if 8 + length > size:
        return int(8 + length)
    with path.open("rb") as file:
        file.seek(8)
        header = _parsed(path, file.read(length))
    try:
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        return int(8 + length + max(ends, default=0))
    except (AttributeError, KeyError, IndexError, TypeError) as error:
        raise EngineStartError(f"{str(path)!r} is not a safetensors file") from error


def _json(path: Path) -> Any:
    return _parsed(path, path.read_bytes())


def _parsed(path: Path, content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        if content.startswith(LFS_POINTER):
            raise EngineStartError(
                f"{str(path)!r} is a pointer of Git LFS, not the file itself; `git lfs pull` brings that"
            ) from error
        raise EngineStartError(f"{str(path)!r} is not JSON: {error}") from error
