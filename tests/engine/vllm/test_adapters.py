"""vLLM's arguments for adapters, and its errors."""

from __future__ import annotations

from engine.adapters.config import AdapterConfig
from engine.config import GUIDE, EngineConfig
from engine.vllm import adapters, launch

SOME = AdapterConfig(enable_lora=True, max_cpu_loras=3, can_change=True, max_loras=2, max_lora_rank=32)


def test_without_adapters_the_engine_is_started_as_before() -> None:
    assert adapters.lora_arguments(AdapterConfig(), is_cpu=True) == {}
    assert launch.engine_arguments(EngineConfig(str(GUIDE))).enable_lora is False


def test_on_a_cpu_one_slot_more_than_there_can_be_adapters_stays_empty() -> None:
    arguments = adapters.lora_arguments(SOME, is_cpu=True)
    assert arguments == {"enable_lora": True, "max_loras": 5, "max_cpu_loras": 5, "max_lora_rank": 32}


def test_on_a_gpu_there_are_as_many_slots_as_were_set() -> None:
    arguments = adapters.lora_arguments(SOME, is_cpu=False)
    assert arguments == {"enable_lora": True, "max_loras": 2, "max_cpu_loras": 4, "max_lora_rank": 32}


def test_a_workers_error_is_shown_without_the_frame_around_it() -> None:
    error = Exception(
        "Call to add_lora method failed: Worker failed with error 'Bad\nrank.', please check the stack trace"
    )
    assert adapters._reason(error) == "Bad rank."
    assert adapters._reason(Exception("something else")) == "something else"
