"""An engine without work leaves the processors to others."""

from __future__ import annotations

import time

import httpx
import psutil

from tests.live.real.engine.test_engine_death import find_core, find_worker
from tests.live.servers.server import MODEL, Server

WATCHED_S = 0.5
"""Half of the time for which vLLM's own worker goes on polling."""


def processor_s(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def test_an_engine_that_has_answered_takes_no_processor(server: Server) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Tell me."}], "max_tokens": 5}
    processes = [find_core(server), find_worker(server)]
    assert httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60).status_code == 200
    began = processor_s(processes)
    time.sleep(WATCHED_S)  # What is measured, not waited for.
    assert processor_s(processes) - began < WATCHED_S / 2
