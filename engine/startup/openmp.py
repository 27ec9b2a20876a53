"""Predicts the environment in which vLLM 0.32 starts a worker on a CPU: OpenMP reads it only when a program begins.

The fork server is started with it, so that a worker may be forked. Where the prediction is wrong, or there is none,
vLLM starts its worker in the ordinary way, which takes eight seconds longer.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
from pathlib import Path

import orjson

VARIABLES = (
    "LD_PRELOAD",
    "OMP_NUM_THREADS",
    "OMP_PLACES",
    "OMP_PROC_BIND",
    "GOMP_CPU_AFFINITY",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "KMP_TPAUSE",
)
"""The variables that must be the same in the fork server and in a worker."""

SETTINGS = ("VLLM_CPU_OMP_THREADS_BIND", "VLLM_CPU_NUM_OF_RESERVED_CPU", "CPU_VISIBLE_MEMORY_NODES")
"""vLLM's own settings for this. If one is set, nothing is predicted."""


def is_cpu_build() -> bool:
    """Whether the installed vLLM is the CPU build."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return name == "vllm-cpu" or "cpu" in importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return False


def worker_environment() -> dict[str, str]:
    """The environment of an engine's only worker: see `OMPProcessManager` and `CpuPlatform` in vLLM."""
    library, processors = _libgomp(), _processors()
    if platform.machine() != "x86_64" or library is None or not processors:
        return {}
    if any(os.environ.get(name) for name in (*SETTINGS, *VARIABLES)):
        return {}
    return {
        "LD_PRELOAD": str(library),
        "OMP_NUM_THREADS": str(len(processors)),
        "GOMP_CPU_AFFINITY": " ".join(map(str, processors)),
    }


def _libgomp() -> Path | None:
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    torch = Path(spec.origin).parent
    found = [*(torch.parent / "torch.libs").glob("libgomp*.so*"), *(torch / "lib").glob("libgomp*.so*")]
    return found[0] if found else None


def _processors() -> list[int]:
    """One of each core of the first memory node, except the last core, which is for the rest of the server."""
    try:
        listed = subprocess.check_output(["lscpu", "--json", "--extended=CPU,CORE,NODE", "--online"])
        rows = orjson.loads(listed)["cpus"]
        allowed = os.sched_getaffinity(0)
        rows = [row for row in rows if int(row["cpu"]) in allowed]
        node = min(int(row["node"]) for row in rows)
        of_cores = {int(row["core"]): int(row["cpu"]) for row in rows if int(row["node"]) == node}
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return []
    chosen = sorted(of_cores.values())
    return chosen[:-1] if len(chosen) > 1 else chosen
