"""LoRA adapters for the bundled guide, with random weights: PEFT's two files, written without PEFT."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

LAYERS, HIDDEN = 5, 256
"""Of the guide; its q_proj has as many outputs as inputs."""
RANK = 8
CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "r": RANK,
    "lora_alpha": 16,
    "target_modules": ["q_proj"],
    "bias": "none",
}

Tensors = dict[str, np.ndarray[Any, Any]]


def name_of(layer: int, side: str, module: str = "self_attn.q_proj") -> str:
    return f"base_model.model.model.layers.{layer}.{module}.lora_{side}.weight"


def random_tensors(seed: int = 1, rank: int = RANK, scale: float = 0.15) -> Tensors:
    """Both matrices of each layer's q_proj; with the default scale, greedy answers change but remain different."""
    random = np.random.default_rng(seed)
    tensors = {}
    for layer in range(LAYERS):
        tensors[name_of(layer, "A")] = (random.standard_normal((rank, HIDDEN)) * scale).astype("<f4")
        tensors[name_of(layer, "B")] = (random.standard_normal((HIDDEN, rank)) * scale).astype("<f4")
    return tensors


def write_tensors(path: Path, tensors: Mapping[str, Any]) -> None:
    """A safetensors file."""
    header, data = {}, b""
    for name, tensor in tensors.items():
        content = tensor.tobytes()
        kind = {"<f4": "F32", "<f2": "F16", "<i8": "I64"}[tensor.dtype.str]
        header[name] = {
            "dtype": kind,
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(content)],
        }
        data += content
    write_raw(path, json.dumps(header).encode(), data)


def write_raw(path: Path, header: bytes, data: bytes = b"") -> None:
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def make_adapter(folder: Path, seed: int = 1, tensors: Tensors | None = None, **config: Any) -> Path:
    """An adapter in a new folder; `config` changes its `adapter_config.json`."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    write_tensors(folder / "adapter_model.safetensors", random_tensors(seed) if tensors is None else tensors)
    return folder
