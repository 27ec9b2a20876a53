"""Measures a start, from the command to the line "ready": time, CPU time and memory of all its processes.

`python -m bench.start . ../other-checkout --rounds 3` compares checkouts, in turn, so that both see the same machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil

from bench.processes import STOP_S

FLAGS = ("--port", "0", "--cpu-kv-cache-gib", "1", "--no-embeddings")


def start(folder: Path) -> dict[str, float]:
    """One start of the server in `folder`. Memory is the proportional share (PSS): shared pages count once."""
    command = [sys.executable, "-m", "app", "serve", *FLAGS]
    environment = os.environ | {"PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1"}
    began = time.monotonic()
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        if not any("ready:" in line for line in process.stdout):
            sys.exit(f"the server in {folder} ended")
        found = {"ready s": time.monotonic() - began}
        whole = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        found["CPU s"] = sum(one.cpu_times().user + one.cpu_times().system for one in whole)
        shares = [one.memory_full_info().pss / 2**20 for one in whole]
        found |= {"MiB": sum(shares), "server MiB": shares[0]}
        process.terminate()
        process.wait(STOP_S)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.start", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found: dict[Path, list[dict[str, float]]] = {folder.resolve(): [] for folder in options.folders}
    for _ in range(options.rounds):
        for folder, figures in found.items():
            figures.append(start(folder))
            print(folder, {name: round(value, 1) for name, value in figures[-1].items()}, file=sys.stderr)
    for folder, figures in found.items():
        medians = {name: round(statistics.median(one[name] for one in figures), 1) for name in figures[0]}
        print(f"{folder}: {medians}")


if __name__ == "__main__":
    main()
