"""Stops vLLM's `AsyncLLM` and its processes. Written for vLLM 0.32."""

from __future__ import annotations

import asyncio
import logging

import structlog
from vllm.platforms import current_platform
from vllm.v1.engine.async_llm import AsyncLLM

from engine.processes.children import EngineProcesses

log = structlog.get_logger(__name__)

CPU_STOP_S = 1.5
"""How long vLLM's processes get to end by themselves on a CPU; then they are killed. On SIGTERM they look through their
whole heap for cycles, for ten seconds. There is no device to release, so nothing is lost by not waiting for that."""


async def shut_down(llm: AsyncLLM, processes: EngineProcesses) -> None:
    """Stop `llm`, which may have died already, and all of `processes`. Does not raise."""
    if llm.output_handler is not None:
        # Otherwise it takes the end of the engine for its death, and logs that.
        llm.output_handler.cancel()
    is_cpu = current_platform.is_cpu()
    if is_cpu:
        # It would warn that it kills its processes, which is intended.
        logging.getLogger("vllm.v1.utils").setLevel(logging.ERROR)
    stopping = asyncio.ensure_future(asyncio.to_thread(llm.shutdown, CPU_STOP_S if is_cpu else None))
    if is_cpu:
        await asyncio.wait({stopping}, timeout=CPU_STOP_S / 2)
        # Only when they are gone does the engine core remove what it shares with them.
        processes.kill_grandchildren()
    try:
        await stopping
    except Exception:
        log.exception("engine_shutdown_failed")
    # A worker whose engine core was killed ends by itself, after seconds in which it holds its memory.
    processes.kill()
