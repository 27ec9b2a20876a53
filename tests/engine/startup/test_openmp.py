"""The predicted OpenMP environment of a worker is what vLLM sets."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from engine.config import GUIDE
from engine.startup.openmp import SETTINGS, VARIABLES, is_cpu_build, worker_environment


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*SETTINGS, *VARIABLES):
        # Twice: what vLLM sets is removed at the end, too.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("without")
def test_the_prediction_is_what_vllm_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.platforms import current_platform
    from vllm.utils.ompmultiprocessing import OMPProcessManager

    assert is_cpu_build() == current_platform.is_cpu()
    if not current_platform.is_cpu():
        pytest.skip("only the workers of a CPU are forked")
    predicted = worker_environment()
    for name in ("VLLM_WORKER_MULTIPROC_METHOD", "NUMEXPR_MAX_THREADS", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    AsyncEngineArgs(model=str(GUIDE), enforce_eager=True, kv_cache_memory_bytes=2**30).create_engine_config()
    parallel = SimpleNamespace(local_world_size=1, data_parallel_rank_local=None, _api_process_count=1)
    config: Any = SimpleNamespace(parallel_config=parallel, kv_transfer_config=None)
    with OMPProcessManager(config).configure_omp_envs(rank=0, local_rank=0):
        found = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    assert predicted == found


@pytest.mark.usefixtures("without")
@pytest.mark.parametrize("name", ["VLLM_CPU_OMP_THREADS_BIND", "LD_PRELOAD"])
def test_nothing_is_predicted_where_the_operator_has_set_something(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "0")
    assert worker_environment() == {}
