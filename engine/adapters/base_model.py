"""The modules of the base model and their shapes, from the headers of its weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from engine.adapters.weights import raw_header

MAX_HEADER_BYTES = 100_000_000
PLAIN_DTYPES = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
"""Formats whose tensors have the shape of the matrix; packed formats have others."""


def tail(module: str) -> str:
    """A module's name from its first numbered part on, or its last part.

    What stands in front of it differs between a model's files, its code, and vLLM.
    """
    parts = module.split(".")
    for at, part in enumerate(parts[1:], 1):
        if part.isdecimal():
            return ".".join(parts[at - 1 :])
    return parts[-1]


@dataclass(frozen=True, slots=True)
class BaseModel:
    """The modules of a model, by the tails of their names, and the shapes of their weights."""

    modules: set[str] = field(default_factory=set)
    shapes: dict[str, set[tuple[int, ...]]] = field(default_factory=dict)
    """(outputs, inputs), or the other way round. Several, where parts of a model have modules of the same name."""

    def has(self, module: str) -> bool:
        return tail(module) in self.modules

    def fits(self, module: str, inputs: int, outputs: int) -> bool:
        """Whether the module has so many inputs and outputs; True if that is unknown."""
        shapes = self.shapes.get(tail(module))
        return not shapes or (outputs, inputs) in shapes or (inputs, outputs) in shapes


def base_model(model: str) -> BaseModel | None:
    """The modules of the model in the folder `model`; None if they cannot be read from there."""
    folder = Path(model).expanduser()
    found = BaseModel()
    try:
        for path in sorted(folder.glob("*.safetensors")):
            header, _ = raw_header(path, MAX_HEADER_BYTES)
            for name, entry in header.items():
                _add(found, name, entry)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # The model's own check says what is wrong.
    if not found.modules:
        return None
    if "embed_tokens" in found.modules:
        found.modules.add("lm_head")  # Tied to it, and then not in the files.
    return found


def _add(found: BaseModel, name: str, entry: dict[str, object]) -> None:
    parts = name.split(".")
    for end in range(1, len(parts)):
        found.modules.add(tail(".".join(parts[:end])))
    shape = entry["shape"]
    if parts[-1] == "weight" and entry["dtype"] in PLAIN_DTYPES and isinstance(shape, list) and len(shape) == 2:
        found.shapes.setdefault(tail(".".join(parts[:-1])), set()).add(tuple(shape))
