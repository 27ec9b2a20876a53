"""A Ray cluster of this machine alone, with two replicas behind Ray's own web server."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil
import pytest

from tests.certificates import ROOT
from tests.live.servers.ports import unused_port
from tests.live.servers.programs import ray_packages
from tests.live.servers.server import environment

START_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 60.0
READY = "replicas are ready"
TOO_SLOW = "The current node timed out during startup"


@dataclass
class RayCluster:
    """The processes of Ray, and the address of its web server."""

    process: subprocess.Popen[str]
    url: str
    log: list[str] = field(default_factory=list)
    is_up: bool = False
    is_over: threading.Event = field(default_factory=threading.Event)
    """Set once the start is over, well or not."""
    reader: threading.Thread | None = None
    seen: dict[int, psutil.Process] = field(default_factory=dict)
    """Every process that was found, by its id."""

    def processes(self) -> list[psutil.Process]:
        """Those of the cluster that run now."""
        with_ids = {process.pid: process for process in psutil.Process(self.process.pid).children(recursive=True)}
        self.seen |= with_ids
        return list(with_ids.values())

    def replicas(self) -> list[psutil.Process]:
        """The processes of the replicas."""
        return [process for process in self.processes() if "ServeReplica" in _command(process)]


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@contextmanager
def ray_cluster(
    engine: str, *flags: str, env: Mapping[str, str] | None = None, start_s: float = START_TIMEOUT_S
) -> Iterator[RayCluster]:
    """Two replicas of the `counting` or the `real` engine until the end of the block. No process is left behind."""
    # The paths of Ray's sockets have a limit, and those of pytest's folders are long.
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        own = {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ray_packages.FOLDER)]),
            "HOME": folder,  # Ray keeps a token there.
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_DEDUP_LOGS": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # On any system, this keeps Ray on the loopback address.
            # A busy machine is slow, not broken.
            "RAY_health_check_failure_threshold": "100",
            "RAY_worker_register_timeout_seconds": str(int(start_s)),
        }
        port = unused_port()
        cluster = _started([engine, folder, str(port), *flags], port, environment() | own | dict(env or {}))
        try:
            cluster.is_over.wait(start_s)
            if any(TOO_SLOW in line for line in cluster.log):
                pytest.skip("Ray did not start within its own limit of 30 s: the machine is too busy")
            assert cluster.is_up, "".join(cluster.log[-60:])
            cluster.processes()
            yield cluster
        finally:
            _stop(cluster)


def _started(arguments: list[str], port: int, variables: dict[str, str]) -> RayCluster:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.live.servers.programs.ray_head", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=variables,
    )
    cluster = RayCluster(process, f"http://127.0.0.1:{port}")
    cluster.reader = threading.Thread(target=_read, args=(cluster,), daemon=True)
    cluster.reader.start()
    return cluster


def _read(cluster: RayCluster) -> None:
    assert cluster.process.stdout is not None
    for line in cluster.process.stdout:
        cluster.log.append(line)
        if line.startswith(READY):
            cluster.is_up = True
            cluster.is_over.set()
    cluster.is_over.set()


def _stop(cluster: RayCluster) -> None:
    process = cluster.process
    if process.poll() is None:
        cluster.processes()
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_TIMEOUT_S)
    _, alive = psutil.wait_procs(list(cluster.seen.values()), timeout=10)
    for left in alive:
        left.kill()
    psutil.wait_procs(alive, timeout=10)
    if cluster.reader is not None and process.stdout is not None:
        cluster.reader.join(10)
        process.stdout.close()
