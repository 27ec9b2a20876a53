"""What an adapter's files may hold: a table of broken and hostile ones."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.adapters.api import Adapter, AdapterError
from engine.adapters.base_model import BaseModel, base_model, tail
from engine.adapters.files import copied
from engine.config import GUIDE
from tests.engine.adapters.made import HIDDEN, RANK, make_adapter, name_of, random_tensors, write_raw, write_tensors

BASE = base_model(str(GUIDE))


def check(folder: Path, tmp_path: Path, *, max_rank: int = 16, base: BaseModel | None = BASE) -> Adapter:
    own = tmp_path / "own"
    own.mkdir(exist_ok=True)
    return copied("name", 7, str(folder), own, max_rank, base)


def test_a_copy_is_made_and_the_original_may_vanish(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "sql")
    adapter = check(folder, tmp_path)
    assert (adapter.rank, adapter.source, adapter.engine_name) == (RANK, str(folder), "name@7")
    copy = adapter.folder / "adapter_model.safetensors"
    assert copy.read_bytes() == (folder / "adapter_model.safetensors").read_bytes()
    assert adapter.folder.parent == tmp_path / "own"


def test_links_to_files_are_followed(tmp_path: Path) -> None:
    folder, linked = make_adapter(tmp_path / "sql"), tmp_path / "linked"
    linked.mkdir()
    for path in folder.iterdir():
        (linked / path.name).symlink_to(path)
    assert not (check(linked, tmp_path).folder / "adapter_model.safetensors").is_symlink()


@pytest.mark.parametrize(
    "config",
    [
        {"target_modules": "all-linear"},
        {"rank_pattern": {"layers.0.self_attn.q_proj": 8, r"^model\.layers\.1": 8}, "alpha_pattern": {"q_proj": 2.5}},
        {"use_rslora": True, "lora_alpha": 0.5},
        {"target_modules": ["q_proj", "one_that_was_not_found"]},
    ],
)
def test_other_adapters_of_peft_are_taken(config: dict[str, Any], tmp_path: Path) -> None:
    assert check(make_adapter(tmp_path / "a", **config), tmp_path).rank == RANK


def test_adapters_of_embeddings_are_taken(tmp_path: Path) -> None:
    tensors = {
        "base_model.model.model.embed_tokens.lora_embedding_A": np.zeros((RANK, 7168), "<f4"),
        "base_model.model.model.embed_tokens.lora_embedding_B": np.zeros((HIDDEN, RANK), "<f2"),
    }
    folder = make_adapter(tmp_path / "a", tensors=tensors, target_modules=["embed_tokens"])
    assert check(folder, tmp_path).rank == RANK


def test_without_the_models_files_shapes_are_left_to_the_engine(tmp_path: Path) -> None:
    tensors = {"x.lora_A.weight": np.zeros((RANK, 3), "<f4"), "x.lora_B.weight": np.zeros((5, RANK), "<f4")}
    folder = make_adapter(tmp_path / "a", tensors=tensors, target_modules=["x"])
    assert check(folder, tmp_path, base=None).rank == RANK
    assert base_model(str(tmp_path)) is None


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "another kind": ({"peft_type": "IA3"}, "peft_type must be LORA"),
    "no rank": ({"r": None}, "r must be a number"),
    "a negative rank": ({"r": -8}, "r must be a number"),
    "a text as rank": ({"r": "8"}, "r must be a number"),
    "true as rank": ({"r": True}, "r must be a number"),
    "too high a rank": ({"r": 32}, "the rank is 32, and may be 16"),
    "a huge rank": ({"r": 10**30}, "r must be"),
    "no alpha": ({"lora_alpha": None}, "lora_alpha must be a number"),
    "a huge alpha": ({"lora_alpha": 1e300}, "lora_alpha must be a number"),
    "no targets": ({"target_modules": []}, "target_modules must be"),
    "numbers as targets": ({"target_modules": [1]}, "target_modules must be"),
    "targets that are not there": ({"target_modules": ["nothing"]}, "names none of the modules"),
    "DoRA": ({"use_dora": True}, "use_dora is not supported"),
    "whole modules": ({"modules_to_save": ["lm_head"]}, "modules_to_save is not supported"),
    "biases": ({"bias": "all"}, "bias must be none"),
    "a rank of a pattern": ({"rank_pattern": {"q_proj": 64}}, "the rank is 64"),
    "no rank of a pattern": ({"rank_pattern": {"q_proj": "8"}}, "rank_pattern must give numbers"),
    "a slow pattern": ({"rank_pattern": {"(a+)+b": 8}}, "rank_pattern must give names"),
    "a slow pattern of alphas": ({"alpha_pattern": {"(.*)*x": 8}}, "alpha_pattern must give names"),
    "patterns in a list": ({"rank_pattern": ["q_proj"]}, "rank_pattern must be an object"),
    "a long pattern": ({"rank_pattern": {"q" * 513: 8}}, "rank_pattern must give names"),
    "many patterns": ({"rank_pattern": {f"q{number}": 8 for number in range(60_000)}}, "60000 patterns for 5 modules"),
    "many targets": ({"target_modules": ["q_proj"] * 60_000}, "60000 target_modules for 5 modules"),
    "another rank than the tensors": ({"r": 4}, "has the rank 8, but r is 4"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_bad_configuration_is_refused(name: str, tmp_path: Path) -> None:
    config, reason = CONFIGS[name]
    with pytest.raises(AdapterError, match=reason):
        check(make_adapter(tmp_path / "a", **config), tmp_path)
    assert list((tmp_path / "own").iterdir()) == []


def with_tensors(**changed: Any) -> Callable[[Path], None]:
    """Writes a file with other tensors than the usual; None leaves one out."""

    def write(path: Path) -> None:
        tensors = random_tensors() | changed
        write_tensors(path, {name: tensor for name, tensor in tensors.items() if tensor is not None})

    return write


def header_of(**entry: Any) -> Callable[[Path], None]:
    usual = {"dtype": "F32", "shape": [8, 256], "data_offsets": [0, 8192]}
    return lambda path: write_raw(path, json.dumps({name_of(0, "A"): usual | entry}).encode(), bytes(8192))


def spoiled(value: float, kind: str = "<f4") -> Callable[[Path], None]:
    tensor = np.zeros((RANK, HIDDEN), kind)
    tensor[3, 5] = value
    return with_tensors(**{name_of(2, "A"): tensor})


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def overlapping(path: Path) -> None:
    entry = {"dtype": "F32", "shape": [8, 256], "data_offsets": [0, 8192]}
    write_raw(path, json.dumps({name_of(0, side): entry for side in "AB"}).encode(), bytes(8192))


def ones(*shape: int) -> np.ndarray[Any, Any]:
    return np.ones(shape, "<f4")


A, B = name_of(0, "A"), name_of(0, "B")
FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda path: path.write_bytes(b""), "is not a safetensors file"),
    "a zip": (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(100)), "is not a safetensors file"),
    "a huge header": (lambda path: path.write_bytes(struct.pack("<Q", 1 << 60)), "may have 16777216"),
    "a cut header": (lambda path: path.write_bytes(struct.pack("<Q", 500) + b'{"a": '), "is not a safetensors file"),
    "a list": (lambda path: write_raw(path, b"[]"), "is no object"),
    "no tensors": (lambda path: write_raw(path, b"{}"), "holds no tensor"),
    "a deep header": (lambda path: write_raw(path, b'{"a":' + b"[" * 100_000), "is not a safetensors file"),
    "a cut file": (cut, "may be cut"),
    "tensors outside": (header_of(data_offsets=[8192, 16384]), "lies outside"),
    "a wrong size": (header_of(shape=[8, 255]), "lies outside"),
    "a negative shape": (header_of(shape=[-8, -256]), "impossible shape"),
    "a huge shape": (header_of(shape=[1 << 62, 4]), "impossible shape"),
    "offsets that are texts": (header_of(data_offsets=["0", "8192"]), "impossible shape"),
    "no offsets": (header_of(data_offsets=None), "is not described"),
    "tensors that overlap": (overlapping, "its tensors overlap"),
    "integers": (with_tensors(**{A: np.zeros((RANK, HIDDEN), "<i8")}), "must be F32, F16, BF16, not I64"),
    "one half": (with_tensors(**{B: None}), "must have both"),
    "one half twice": (with_tensors(**{A.removeprefix("base_model.model."): ones(RANK, HIDDEN)}), "has two tensors"),
    "a long name": (with_tensors(**{"x" * 600 + ".lora_A.weight": ones(RANK, HIDDEN)}), "not a tensor of a LoRA"),
    "other tensors": (with_tensors(**{"model.layers.0.self_attn.q_proj.weight": ones(2, 2)}), "not a tensor of a LoRA"),
    "a layer too many": (
        with_tensors(**{name_of(5, "A"): ones(RANK, HIDDEN), name_of(5, "B"): ones(HIDDEN, RANK)}),
        "has no module 'model.layers.5.self_attn.q_proj'",
    ),
    "a module too many": (
        with_tensors(**{name_of(0, "A", "mlp.x"): ones(RANK, HIDDEN), name_of(0, "B", "mlp.x"): ones(HIDDEN, RANK)}),
        "has no module",
    ),
    "inputs of another model": (with_tensors(**{A: ones(RANK, 512)}), "has 512 inputs and 256 outputs"),
    "outputs of another model": (with_tensors(**{B: ones(4096, RANK)}), "has 256 inputs and 4096 outputs"),
    "ranks that differ": (with_tensors(**{A: ones(4, HIDDEN)}), "do not fit"),
    "three dimensions": (with_tensors(**{A: ones(RANK, HIDDEN, 1)}), "do not fit"),
    "no rows": (with_tensors(**{A: ones(0, HIDDEN), B: ones(HIDDEN, 0)}), "do not fit"),
    "a high rank": (with_tensors(**{A: ones(64, HIDDEN), B: ones(HIDDEN, 64)}), "rank 64, but it may have 16"),
    "not a number": (spoiled(float("nan")), "holds NaN or infinity"),
    "infinity": (spoiled(float("-inf"), "<f2"), "holds NaN or infinity"),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_weights_are_refused(name: str, tmp_path: Path) -> None:
    write, reason = FILES[name]
    folder = make_adapter(tmp_path / "a")
    write(folder / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match=reason):
        check(folder, tmp_path)
    assert list((tmp_path / "own").iterdir()) == []


def test_folders_that_are_none_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    only_pickle = make_adapter(tmp_path / "pickle")
    (only_pickle / "adapter_model.safetensors").rename(only_pickle / "adapter_model.bin")
    piped = make_adapter(tmp_path / "piped")
    (piped / "adapter_model.safetensors").unlink()
    os.mkfifo(piped / "adapter_model.safetensors")
    for folder, reason in (
        (tmp_path / "nowhere", "there is no folder"),
        (empty, "holds no adapter_config.json"),
        (only_pickle, "only safetensors files are loaded"),
        (piped, "is not a file"),
        (Path("/dev/null"), "there is no folder"),
        (Path("a\x00b"), "there is no folder"),
        (Path("x" * 5000), "cannot copy"),
    ):
        with pytest.raises(AdapterError, match=reason):
            check(folder, tmp_path)
        assert list((tmp_path / "own").iterdir()) == []


def test_no_more_is_copied_than_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_adapter(tmp_path / "a")
    config = folder / "adapter_config.json"
    config.unlink()
    config.symlink_to("/proc/self/status")  # Its size is 0, by what the system says.
    monkeypatch.setattr("engine.adapters.files.MAX_CONFIG_BYTES", 100)
    with pytest.raises(AdapterError, match="grew while it was copied, beyond 100 bytes"):
        check(folder, tmp_path)
    monkeypatch.setattr("engine.adapters.files.MAX_CONFIG_BYTES", 1 << 20)
    with pytest.raises(AdapterError, match="is not JSON"):
        check(folder, tmp_path)


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("model.layers.0.self_attn.q_proj", "layers.0.self_attn.q_proj"),
        ("model.language_model.layers.12.mlp", "layers.12.mlp"),
        ("transformer.h.3", "h.3"),
        ("lm_head", "lm_head"),
        ("model.embed_tokens", "embed_tokens"),
    ],
)
def test_modules_are_compared_from_their_first_number_on(name: str, end: str) -> None:
    assert tail(name) == end
