"""Copies an adapter's files, and checks the copy: what passes cannot harm the engine.

vLLM 0.32 loads an adapter in the process of the engine. What is wrong with one may be found late there, or never: see
the checks. Imports neither vLLM nor torch.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import stat
from pathlib import Path
from typing import Any

import orjson

from engine.adapters.api import Adapter, AdapterError
from engine.adapters.base_model import BaseModel
from engine.adapters.weights import Tensor, check_numbers, read_tensors

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MAX_CONFIG_BYTES = 1 << 20
MAX_WEIGHTS_BYTES = 8 << 30
COPIED_AT_A_TIME = 1 << 20
MAX_NAME_CHARS = 512
MAX_MATCHES = 250_000
"""Modules times patterns, or times target modules: each is compared with each, by vLLM while its engine waits."""
PATTERN = re.compile(r"\^?(?:[\w-]|\\?\.)+\$?")
"""A module's name. PEFT takes any regular expression, and one can keep the engine busy for hours."""
TENSOR = re.compile(
    r"(?:base_model\.model\.)?(?P<module>[\w.]+)\.(?:lora_(?P<side>[AB])\.weight|lora_embedding_(?P<embedding>[AB]))"
)
IGNORED = (".embed_tokens.base_layer.weight", ".lm_head.base_layer.weight")
"""Copies of the base model's weights, which vLLM leaves out."""
UNSUPPORTED = ("use_dora", "lora_bias", "modules_to_save", "layer_replication", "use_bdlora", "use_qalora")
"""Features of PEFT that vLLM 0.32 does not have; what it refuses beyond them, it says itself."""


def copied(name: str, number: int, source: str, own: Path, max_rank: int, base: BaseModel | None) -> Adapter:
    """Copy the adapter in the folder `source` into the folder `own`, and check it. Blocks: use a thread.

    Raises `AdapterError`, and then leaves nothing. `base` is the base model, if its modules are known.
    """
    folder = own / str(number)
    try:
        folder.mkdir(mode=0o700)
        try:
            where = Path(source).expanduser()
            if not where.is_dir():
                raise AdapterError(f"there is no folder {source[:200]!r}")
            for file, limit in ((CONFIG, MAX_CONFIG_BYTES), (WEIGHTS, MAX_WEIGHTS_BYTES)):
                _copy(where / file, folder / file, limit)
            return Adapter(name, number, folder, source, _check(folder, max_rank, base))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except (OSError, ValueError) as error:  # ValueError: a path with a null character.
        raise AdapterError(f"cannot copy {source[:200]!r}: {getattr(error, 'strerror', None) or error}") from None


def _copy(source: Path, target: Path, limit: int) -> None:
    try:
        # A pipe would keep an ordinary `open` waiting.
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        others = "; only safetensors files are loaded" if source.name == WEIGHTS else ""
        raise AdapterError(f"the folder {str(source.parent)!r} holds no {source.name}{others}") from None
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise AdapterError(f"{str(source)!r} is not a file")
        if status.st_size > limit:
            raise AdapterError(f"{source.name} has {status.st_size} bytes, and may have {limit}")
        with target.open("xb") as copy:
            # One of /proc has another size than it says, and any may grow meanwhile.
            left = limit + 1
            while left and (piece := file.read(min(left, COPIED_AT_A_TIME))):
                copy.write(piece)
                left -= len(piece)
    if not left:
        raise AdapterError(f"{source.name} grew while it was copied, beyond {limit} bytes")


def _check(folder: Path, max_rank: int, base: BaseModel | None) -> int:
    """The adapter's largest rank. Raises `AdapterError`."""
    config = _config(folder / CONFIG, max_rank)
    tensors = read_tensors(folder / WEIGHTS)
    pairs = _pairs(tensors)
    targets = config["target_modules"]
    if isinstance(targets, list) and len(targets) * len(pairs) > MAX_MATCHES:
        raise AdapterError(
            f"{CONFIG}: {len(targets)} target_modules for {len(pairs)} modules are too many: their product may be "
            f"{MAX_MATCHES}"
        )
    if isinstance(targets, list) and not any(_names(target, module) for module in pairs for target in targets):
        raise AdapterError(f"{CONFIG}: target_modules names none of the modules in {WEIGHTS}")
    patterns = len(config.get("rank_pattern") or {}) + len(config.get("alpha_pattern") or {})
    if patterns * len(pairs) > MAX_MATCHES:
        raise AdapterError(
            f"{CONFIG}: {patterns} patterns for {len(pairs)} modules are too many: their product may be {MAX_MATCHES}"
        )
    largest = 0
    for module, pair in pairs.items():
        if base is not None and not base.has(module.removesuffix(".base_layer")):
            raise AdapterError(f"{WEIGHTS}: the model has no module {module[:100]!r}")
        if ".experts" in module:
            continue  # Experts are stacked in several ways; vLLM checks them.
        rank = _rank(module, pair, base)
        if rank > max_rank or (rank != config["r"] and not config.get("rank_pattern")):
            expected = f"r is {config['r']}" if rank <= max_rank else f"it may have {max_rank} (--max-lora-rank)"
            raise AdapterError(f"{WEIGHTS}: {module[:100]!r} has the rank {rank}, but {expected}")
        largest = max(largest, rank)
    check_numbers(folder / WEIGHTS, tensors)
    return largest or int(config["r"])


def _config(path: Path, max_rank: int) -> dict[str, Any]:
    try:
        config = orjson.loads(path.read_bytes())
    except ValueError as error:
        raise AdapterError(f"{CONFIG} is not JSON: {str(error)[:200]}") from None
    if not isinstance(config, dict):
        raise AdapterError(f"{CONFIG} must be a JSON object")
    if config.get("peft_type", "LORA") != "LORA":
        raise AdapterError(f"{CONFIG}: peft_type must be LORA, not {str(config['peft_type'])[:40]!r}")
    rank, alpha, targets = config.get("r"), config.get("lora_alpha"), config.get("target_modules")
    if type(rank) is not int or rank < 1:
        raise AdapterError(f"{CONFIG}: r must be a number from 1 on")
    if not _is_number(alpha):
        raise AdapterError(f"{CONFIG}: lora_alpha must be a number")
    if not (isinstance(targets, str) or (_is_list_of_texts(targets) and targets)):
        raise AdapterError(f"{CONFIG}: target_modules must be a list of names, or a text")
    for name in UNSUPPORTED:
        if config.get(name):
            raise AdapterError(f"{CONFIG}: {name} is not supported")
    if config.get("bias", "none") != "none":
        raise AdapterError(f"{CONFIG}: bias must be none")
    ranks = _patterns(config, "rank_pattern")
    if not all(type(value) is int and value > 0 for value in ranks.values()):
        raise AdapterError(f"{CONFIG}: rank_pattern must give numbers from 1 on")
    if not all(map(_is_number, _patterns(config, "alpha_pattern").values())):
        raise AdapterError(f"{CONFIG}: alpha_pattern must give numbers")
    if (largest := max([rank, *ranks.values()])) > max_rank:
        raise AdapterError(f"{CONFIG}: the rank is {largest}, and may be {max_rank} (--max-lora-rank)")
    path.write_bytes(orjson.dumps(config))  # vLLM has another parser: it must read the same.
    return config


def _patterns(config: dict[str, Any], name: str) -> dict[str, Any]:
    patterns = config.get(name) or {}
    if not isinstance(patterns, dict):
        raise AdapterError(f"{CONFIG}: {name} must be an object")
    for pattern in patterns:
        if len(pattern) > MAX_NAME_CHARS or not PATTERN.fullmatch(pattern):
            raise AdapterError(f"{CONFIG}: {name} must give names of modules, not {pattern[:60]!r}")
    return patterns


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e9  # type: ignore[arg-type]  # checked


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _names(target: str, module: str) -> bool:
    return module == target or module.endswith(f".{target}")


def _pairs(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The two matrices of each module. Raises `AdapterError` for anything else in the file."""
    pairs: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.endswith(IGNORED):
            continue
        found = TENSOR.fullmatch(name) if len(name) <= MAX_NAME_CHARS else None
        if found is None:
            raise AdapterError(f"{WEIGHTS}: {name[:100]!r} is not a tensor of a LoRA adapter")
        pair, side = pairs.setdefault(found["module"], {}), found["side"] or found["embedding"]
        if side in pair:
            raise AdapterError(f"{WEIGHTS}: {found['module']!r} has two tensors lora_{side}")
        pair[side] = tensor
    for module, pair in pairs.items():
        if len(pair) != 2:
            raise AdapterError(f"{WEIGHTS}: {module[:100]!r} must have both lora_A and lora_B")
    if not pairs:
        raise AdapterError(f"{WEIGHTS} holds no tensor of an adapter")
    return pairs


def _rank(module: str, pair: dict[str, Tensor], base: BaseModel | None) -> int:
    a, b = pair["A"].shape, pair["B"].shape
    if len(a) != 2 or len(b) != 2 or a[0] != b[1] or not a[0]:
        raise AdapterError(f"{WEIGHTS}: {module[:100]!r} has the shapes {list(a)} and {list(b)}, which do not fit")
    if base is not None and not base.fits(module, a[1], b[0]):
        raise AdapterError(
            f"{WEIGHTS}: {module[:100]!r} has {a[1]} inputs and {b[0]} outputs, unlike the model's: it is another's"
        )
    return a[0]
