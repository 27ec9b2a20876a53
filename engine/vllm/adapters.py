"""Adapters in vLLM 0.32: its arguments for them, and loading one."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Coroutine
from typing import Any, TypeVar

from vllm.lora.request import LoRARequest
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from engine.adapters.api import Adapter, AdapterError
from engine.adapters.config import AdapterConfig
from engine.vllm.outputs.errors import first_line
from engine.vllm.outputs.stream import engine_died

LOAD_TIMEOUT_S = 120.0
WORKERS_ERROR = re.compile(r"Worker failed with error '(.*?)'(?:, please check|$)", re.DOTALL)

T = TypeVar("T")


def lora_arguments(config: AdapterConfig, *, is_cpu: bool) -> dict[str, Any]:
    """Arguments of `AsyncEngineArgs`; none if there are no adapters, which would slow every step down.

    On a CPU, vLLM 0.32 computes requests without an adapter that share a batch with one that has one as if they had
    that of the last slot. So there is one slot more than there can be adapters, and the last one stays empty. Test:
    `tests/live/real/engine/test_adapters.py`.
    """
    if not config.is_enabled:
        return {}
    slots = config.places + 1 if is_cpu else min(config.max_loras, config.places)
    return {
        "enable_lora": True,
        "max_loras": slots,
        # Beyond these, vLLM drops one in silence.
        "max_cpu_loras": max(config.places, slots),
        "max_lora_rank": config.rank,
    }


def leave_out_combinations(logger: Any) -> None:
    """Stop a logger of vLLM 0.32 from making a metric of each combination of adapters, without end."""
    if getattr(logger, "gauge_lora_info", None) is not None:
        logger.gauge_lora_info = None


def lora_request(adapter: Adapter) -> LoRARequest:
    """`adapter` for vLLM."""
    return LoRARequest(adapter.engine_name, adapter.id, str(adapter.folder))


async def load(llm: AsyncLLM, adapter: Adapter) -> None:
    """Load `adapter` into a running engine. Raises `AdapterError` or `TwowireError`.

    Only this loads adapters: if vLLM found at a request that it cannot load one, it would die.
    """
    try:
        async with asyncio.timeout(LOAD_TIMEOUT_S):
            await _unless_dead(llm, llm.add_lora(lora_request(adapter)))
    except EngineDeadError as error:
        raise engine_died() from error
    except BaseException as error:
        # It may be there in part, and would take a place.
        with contextlib.suppress(Exception):
            await drop(llm, adapter)
        if isinstance(error, Exception):
            raise AdapterError(_reason(error)) from error
        raise


async def drop(llm: AsyncLLM, adapter: Adapter) -> None:
    """Remove `adapter` from a running engine. Raises what vLLM raises."""
    async with asyncio.timeout(LOAD_TIMEOUT_S):
        await _unless_dead(llm, llm.remove_lora(adapter.id))


async def _unless_dead(llm: AsyncLLM, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which would never come from an engine that died. Raises `EngineDeadError`."""
    # The handler starts with the first request, and ends with the engine.
    handler = llm.output_handler
    working = asyncio.ensure_future(work)
    try:
        await asyncio.wait({working, *([handler] if handler is not None else [])}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise EngineDeadError
        return working.result()
    finally:
        working.cancel()


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"not within {LOAD_TIMEOUT_S:g} s"
    found = WORKERS_ERROR.search(str(error))
    return " ".join(found[1].split())[:400] if found else first_line(error)
