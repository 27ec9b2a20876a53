"""Reads the headers of safetensors files, and looks for numbers that are none. Imports no torch.

https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from engine.adapters.api import AdapterError

MAX_HEADER_BYTES = 16 << 20
"""Of an adapter's file. A header has some 150 bytes for each tensor."""
MAX_TENSORS = 100_000
NUMBERS_AT_A_TIME = 4 << 20

FORMATS: Mapping[str, tuple[int, int]] = {"F32": (4, 0x7F800000), "F16": (2, 0x7C00), "BF16": (2, 0x7F80)}
"""The formats that an adapter may have: a number's bytes, and the bits of its exponent, all set in NaN and infinity."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    """Its first byte in the file."""

    @property
    def size(self) -> int:
        """Its bytes."""
        return math.prod(self.shape) * FORMATS[self.dtype][0]


def raw_header(path: Path, max_bytes: int) -> tuple[dict[str, Any], int]:
    """The header as it is, and the file's first byte after it. Raises `ValueError`, `OSError`."""
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise ValueError("it is incomplete")
        (length,) = struct.unpack("<Q", start)
        if length > max_bytes:
            raise ValueError(f"its header would have {length} bytes, and may have {max_bytes}")
        header = orjson.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    header.pop("__metadata__", None)
    return header, 8 + length


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of an adapter's file, by name. Raises `AdapterError` unless all of it is as the format says."""
    try:
        header, first_byte = raw_header(path, MAX_HEADER_BYTES)
        if len(header) > MAX_TENSORS:
            raise ValueError(f"it has {len(header)} tensors, and may have {MAX_TENSORS}")
        size = path.stat().st_size - first_byte
        tensors = {name: _tensor(name, entry, first_byte, size) for name, entry in header.items()}
        if sum(tensor.size for tensor in tensors.values()) > size:
            raise ValueError("its tensors overlap")
        return tensors
    except (ValueError, OSError) as error:  # orjson's error is a ValueError.
        raise AdapterError(f"{path.name} is not a safetensors file: {str(error)[:200]}") from None


def _tensor(name: str, entry: Any, first_byte: int, size: int) -> Tensor:
    problem = f"the tensor {name[:100]!r} "
    try:
        dtype, shape, (start, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (KeyError, TypeError, ValueError):
        raise ValueError(problem + "is not described") from None
    if dtype not in FORMATS:
        raise ValueError(problem + f"must be {', '.join(FORMATS)}, not {str(dtype)[:20]}")
    numbers = (*shape, start, end)
    if not all(type(number) is int and 0 <= number < 1 << 48 for number in numbers) or len(shape) > 8:
        raise ValueError(problem + "has an impossible shape or place")
    if end > size or end - start != math.prod(shape) * FORMATS[dtype][0]:
        raise ValueError(problem + "lies outside of the file, or its size is not its shape's; the file may be cut")
    return Tensor(dtype, shape, first_byte + start)


def check_numbers(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise `AdapterError` if a tensor holds NaN or infinity. Reads the whole file."""
    import numpy as np  # Only where there is an adapter: it takes a tenth of a second.

    with path.open("rb") as file:
        for name, tensor in tensors.items():
            size, exponent = FORMATS[tensor.dtype]
            file.seek(tensor.start)
            left = math.prod(tensor.shape)
            while left:
                numbers = np.fromfile(file, f"<u{size}", min(left, NUMBERS_AT_A_TIME))
                if not len(numbers) or bool(((numbers & exponent) == exponent).any()):
                    raise AdapterError(f"{path.name}: the tensor {name[:100]!r} holds NaN or infinity")
                left -= len(numbers)
