"""What a start passes to the engine it makes."""

from __future__ import annotations

from dataclasses import dataclass

from vllm.v1.engine.async_llm import AsyncLLM

from engine.config import EngineConfig
from engine.processes.children import EngineProcesses
from engine.vllm.formats.output_format import OutputFormat


@dataclass(frozen=True, slots=True)
class Started:
    """What a start has made, and what of the configuration the engine needs."""

    llm: AsyncLLM
    config: EngineConfig
    chat_template: str | None
    format: OutputFormat
    processes: EngineProcesses
