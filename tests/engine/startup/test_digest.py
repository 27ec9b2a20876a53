"""A leader and its followers have the same digest if, and only if, they can compute for the same engine."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from engine.config import EngineConfig
from engine.ranks.config import RankOptions
from engine.startup.digest import NOT_COMPARED, PIECE_BYTES, PIECES, engine_digest

HALF = b"\1" * (PIECES * PIECE_BYTES)
WEIGHTS = 2 * HALF


def model_in(folder: Path, weights: bytes = WEIGHTS, config: str = "{}") -> str:
    folder.mkdir()
    (folder / "config.json").write_text(config)
    (folder / "model.safetensors").write_bytes(weights)
    return str(folder)


@pytest.fixture
def config(tmp_path: Path) -> EngineConfig:
    return EngineConfig(model_in(tmp_path / "model"))


def digest(config: EngineConfig) -> str:
    return engine_digest(config, "1.0")


def test_another_place_of_the_same_files_is_the_same_model(config: EngineConfig, tmp_path: Path) -> None:
    assert digest(replace(config, model=model_in(tmp_path / "copy"))) == digest(config)


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        (b"\2" + WEIGHTS[1:], "{}"),
        (WEIGHTS[1:] + b"\2", "{}"),
        (HALF + b"\2" * 2 * PIECE_BYTES + HALF[2 * PIECE_BYTES :], "{}"),
        (WEIGHTS + b"\1", "{}"),
        (WEIGHTS, '{"hidden_size":8}'),
    ],
    ids=["other beginning", "other end", "other middle", "longer", "other configuration"],
)
def test_other_files_are_another_model(config: EngineConfig, tmp_path: Path, weights: bytes, text: str) -> None:
    assert digest(replace(config, model=model_in(tmp_path / "other", weights, text))) != digest(config)


def test_a_model_on_the_hub_is_compared_by_its_name() -> None:
    one, same, other = (EngineConfig(name) for name in ("some/model", "some/model", "some/other"))
    assert digest(one) == digest(same) != digest(other)


@pytest.mark.parametrize(
    "changed",
    [
        {"dtype": "float32"},
        {"max_model_len": 99},
        {"max_num_seqs": 9},
        {"tensor_parallel_size": 2},
        {"extra": {"quantization": "fp8"}},
        {"ranks": RankOptions(data_parallel_size=3)},
    ],
    ids=str,
)
def test_an_option_that_both_need_makes_a_difference(config: EngineConfig, changed: dict[str, object]) -> None:
    assert digest(replace(config, **changed)) != digest(config)  # type: ignore[arg-type]  # one field's value


@pytest.mark.parametrize(
    "changed",
    [
        {"served_model_name": ("other",)},
        {"cpu_kv_cache_gib": 9},
        {"extra": {"hf_token": "a"}},
        {"ranks": RankOptions(data_parallel_start_rank=1, leader_url="http://10.0.0.1:8000", node_rank=1)},
    ],
    ids=str,
)
def test_an_option_of_one_machine_makes_none(config: EngineConfig, changed: dict[str, object]) -> None:
    assert digest(replace(config, **changed)) == digest(config)  # type: ignore[arg-type]  # one field's value


def test_another_version_makes_a_difference(config: EngineConfig) -> None:
    assert engine_digest(config, "1.0") != engine_digest(config, "1.1")


def test_what_is_not_compared_are_options() -> None:
    assert {field.name for field in fields(EngineConfig)} >= NOT_COMPARED
