"""What of vLLM's configuration is ours to decide."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.api import EngineStartError, FollowerLostError
from engine.config import GUIDE, EngineConfig
from engine.sharing.meeting import Meeting, Place
from engine.vllm import launch
from engine.vllm.launch import structured_outputs_config


@dataclass(frozen=True, slots=True)
class MoreOptions(EngineConfig):
    """As if vLLM's option of this name had been added."""

    max_num_batched_tokens: int | None = 512


def test_an_option_of_vllms_is_one_field() -> None:
    assert launch.engine_arguments(MoreOptions(str(GUIDE))).max_num_batched_tokens == 512
    assert launch.engine_arguments(MoreOptions(str(GUIDE), max_num_seqs=3)).max_num_seqs == 3
    assert launch.engine_arguments(EngineConfig(str(GUIDE))).served_model_name == [GUIDE.name]


def test_schemas_are_always_followed_by_the_same_grammar_engine() -> None:
    for given in (None, {}, {"backend": "guidance"}, {"enable_in_reasoning": True}):
        config = structured_outputs_config(given)
        assert (config.backend, config.disable_any_whitespace) == ("guidance", True)
    assert structured_outputs_config({"enable_in_reasoning": True}).enable_in_reasoning


@pytest.mark.parametrize("given", [{"backend": "auto"}, {"backend": "xgrammar"}, {"disable_any_whitespace": False}, []])
def test_another_grammar_engine_stops_the_start(given: object) -> None:
    with pytest.raises(ValueError, match="structured_outputs_config"):
        structured_outputs_config(given)


@pytest.mark.parametrize("index", [None, 0, 1])
async def test_memory_is_looked_for_by_the_one_that_launches_the_engine(
    index: int | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The other API servers come when it is taken, perhaps."""

    async def started(*_: Any) -> Any:
        raise LookupError("the engine would start now")

    monkeypatch.setattr("engine.vllm.launch.current_platform.is_cpu", lambda: True)
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=1 << 30))
    monkeypatch.setattr(launch, "_started", started)
    config = EngineConfig(model=str(GUIDE), served_model_name=("m",), cpu_kv_cache_gib=4)
    with Meeting.at(tmp_path / "meeting") as meeting:
        place = Place(index, 2, meeting, 1.0) if index is not None else None
        with pytest.raises(LookupError if index == 1 else EngineStartError):
            await launch.start_vllm(config, lambda *_: None, place)


def test_an_unknown_argument_of_the_engine_is_named() -> None:
    with pytest.raises(EngineStartError, match=r"--engine-args: .*no_such_argument"):
        launch.engine_arguments(EngineConfig(str(GUIDE), extra={"no_such_argument": 1}))


async def test_a_broken_chat_template_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    with pytest.raises(EngineStartError, match="--chat-template: "):
        await launch.start_vllm(EngineConfig(str(GUIDE), chat_template="{% if %}", cpu_kv_cache_gib=1), lambda *_: None)


@pytest.mark.parametrize(
    ("message", "kind", "reason"),
    [
        ("Unexpected HELLO message for remote engine 1 in CoreEngineState.READY state.", FollowerLostError, "ended"),
        (
            "HELLO message from remote engine 1, expected it to be local",
            EngineStartError,
            "--data-parallel-start-rank: HELLO message from remote engine 1, expected",
        ),
        ("Message from engine with unexpected data parallel rank: 7", EngineStartError, "--data-parallel-start-rank"),
        ("Engine core initialization failed.", RuntimeError, "initialization failed"),
    ],
)
async def test_a_rank_started_anew_is_told_from_one_in_the_wrong_place(
    message: str, kind: type[Exception], reason: str
) -> None:
    async def launching() -> Any:
        raise RuntimeError(message)

    with pytest.raises(kind, match=reason):
        await launch._with_followers(launching(), EngineConfig(str(GUIDE)), lambda *_: None)
