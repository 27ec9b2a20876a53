"""What the fork server imports, so that the engine's processes need not: see `engine.processes.fork_server`.

Written for vLLM 0.32. Importing it changes the process: only the fork server does.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import signal
import sys
import traceback
from multiprocessing import popen_fork, popen_spawn_posix
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from engine.processes.fork_server import ALLOWED_PROCESSORS
from engine.processes.parent_watch import end_with_the_parent
from engine.startup.openmp import VARIABLES

MODULES = (
    "vllm.v1.engine.core",
    "vllm.v1.executor.multiproc_executor",
    "vllm.v1.worker.cpu_worker",
    "vllm.model_executor.models.llama",
    "vllm.model_executor.layers.quantization.compressed_tensors.compressed_tensors",
)
"""Most models need what these modules import."""

TITLE = "VLLM::ForkServer"
PR_SET_PDEATHSIG = 1
_started_with = {name: os.environ.get(name) for name in VARIABLES}


class _WorkerProcess(SpawnProcess):
    """A worker: forked from the engine core if OpenMP has been loaded with the worker's settings, otherwise spawned."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        if {name: os.environ.get(name) for name in VARIABLES} == _started_with:
            process_obj.is_forked = True
            return popen_fork.Popen(process_obj)
        return popen_spawn_posix.Popen(process_obj)

    def run(self) -> None:
        if getattr(self, "is_forked", False):
            # As OpenMP does when it is loaded.
            if bound := os.environ.get("GOMP_CPU_AFFINITY"):
                os.sched_setaffinity(0, {int(bound.split()[0])})
            # Its thread is not inherited.
            end_with_the_parent()
        super().run()


class _WorkerContext(SpawnContext):
    Process = _WorkerProcess


def _prepare() -> None:
    # Python's fork server looks for its parent only when it has imported everything.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(ImportError):
        # Now, because it finds the memory for the title through the environment, which will change.
        from setproctitle import setproctitle

        setproctitle(TITLE)
    # OpenMP binds the thread that loads it. Some packages count CPUs; others bring another OpenMP.
    processors = {int(number) for number in os.environ.pop(ALLOWED_PROCESSORS).split(",")}
    os.sched_setaffinity(0, processors)
    gc.disable()
    try:
        for name in MODULES:
            importlib.import_module(name)
        executor: Any = sys.modules["vllm.v1.executor.multiproc_executor"]
        context = _WorkerContext()
        executor.get_mp_context = lambda: context
        importlib.import_module("engine.vllm.short_spin").shorten_spin()
    except Exception:
        # The engine's processes will fail at the same import, or with a spawned worker.
        traceback.print_exc()
    os.sched_setaffinity(0, processors)
    gc.freeze()
    gc.enable()
    # Each child would write what is left in these buffers again.
    sys.stdout.flush()
    sys.stderr.flush()


_prepare()
