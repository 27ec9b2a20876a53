"""The server that a soak is about: started, watched, wounded and stopped, as from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

Engine = Literal["real", "counting"]

ROOT = Path(__file__).resolve().parents[2]
START_S = 300.0
PROGRAMS: dict[Engine, str] = {"real": "app", "counting": "tests.live.servers.fake_server"}
# Long enough for a client that a busy machine delays, short enough that what is left at the end is a leak.
FLAGS = ["--port", "0", "--log-format", "json", "--resume-keep-finished-s", "10"]
FLAGS += ["--send-timeout-s", "10", "--ws-send-timeout-s", "10"]
REAL_FLAGS = ["--cpu-kv-cache-gib", "1", "--max-num-seqs", "64"]
NOT_WORK = frozenset({"/metrics", "/health", "/livez"})
"""What the soak itself asks, to watch."""
EMPTY = (
    "twowire_generations_running",
    "twowire_sequences_in_engine",
    "twowire_open_streams",
    "twowire_websockets",
    "twowire_resume_logs",
    "twowire_resume_log_bytes",
    "twowire_texts_in_embedder",
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
)
"""Figures that are 0 when nobody asks for anything."""


@dataclass(frozen=True)
class Sample:
    """What the server's process held at a moment."""

    at: float
    rss_mib: float
    files: int
    threads: int
    tasks: int


class SoakServer:
    """`twowire serve` on a free port, and all that it logs."""

    def __init__(self, engine: Engine, *, embeddings: bool, flags: list[str]) -> None:
        self.engine = engine
        self.lines: list[dict[str, Any]] = []
        self.text: list[str] = []
        """What it wrote that is not JSON: vLLM's own lines, and what is none of a server's business to write."""
        self.url = ""
        self._listening, self._ready = threading.Event(), threading.Event()
        command = [sys.executable, "-m", PROGRAMS[engine], "serve", *FLAGS]
        command += REAL_FLAGS if engine == "real" else []
        command += [*([] if embeddings else ["--no-embeddings"]), *flags]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TWOWIRE_")}
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment | {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1", "FAKE_MORTAL": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._http = httpx.Client(timeout=60)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                self.lines.append(json.loads(line))
                continue
            self.text.append(line)
            if line.startswith("twowire: listening on "):
                self.url = line.split()[3].rstrip(";")
                self._listening.set()
            if line.startswith("twowire: ready:"):
                self._ready.set()
        self._listening.set()
        self._ready.set()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def model(self) -> str:
        """The name of what it serves."""
        return "guide"

    def wait_ready(self, *, embeddings: bool) -> None:
        """Return once it can generate, and embed."""
        if not self._ready.wait(START_S) or self.process.poll() is not None:
            raise RuntimeError("the server did not start:\n" + "".join(self.text[-40:]))
        if embeddings:
            self.wait(lambda: self.metrics()["twowire_embedder_state{ready}"] == 1, START_S, "no embedder")

    def wait(self, condition: Callable[[], bool], limit_s: float, what: str) -> None:
        """Ask `condition` until it holds; raises TimeoutError."""
        deadline = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(what)
            time.sleep(0.1)  # Between two questions.

    def is_ready(self) -> bool:
        return self._http.get(f"{self.url}/health").status_code == 200

    def metrics(self) -> Counter[str]:
        """Every figure by its name, summed over its labels; and states by name, as `twowire_engine_state{ready}`."""
        found: Counter[str] = Counter()
        for family in text_string_to_metric_families(self._http.get(f"{self.url}/metrics").text):
            for sample in family.samples:
                found[sample.name] += sample.value  # type: ignore[assignment]  # floats
                if "state" in sample.labels:
                    found[f"{sample.name}{{{sample.labels['state']}}}"] += sample.value  # type: ignore[assignment]
        return found

    def requests(self) -> Counter[tuple[str, str]]:
        """`twowire_requests_total` by wire and outcome, but for the soak's own looks."""
        found: Counter[tuple[str, str]] = Counter()
        for family in text_string_to_metric_families(self._http.get(f"{self.url}/metrics").text):
            for sample in family.samples:
                if sample.name == "twowire_requests_total" and sample.labels["route"] not in NOT_WORK:
                    found[sample.labels["wire"], sample.labels["outcome"]] += int(sample.value)
        return found

    def request_lines(self) -> list[dict[str, Any]]:
        """The log's lines of requests so far."""
        return [line for line in list(self.lines) if line["event"] == "request" and line["route"] not in NOT_WORK]

    def sample(self) -> Sample:
        """What it holds now."""
        tasks = int(self.metrics()["twowire_asyncio_tasks"])
        process = psutil.Process(self.process.pid)
        with process.oneshot():
            rss, files, threads = process.memory_info().rss, process.num_fds(), process.num_threads()
        return Sample(time.monotonic(), rss / 2**20, files, threads, tasks)

    def sockets(self) -> int:
        """Connections that clients have to it, the soak's own one left out."""
        connections = psutil.Process(self.process.pid).net_connections(kind="tcp")
        ours = self._http.get(f"{self.url}/livez").extensions["network_stream"].get_extra_info("client_addr")
        return sum(
            one.laddr.port == self.port and one.status == psutil.CONN_ESTABLISHED and one.raddr.port != ours[1]
            for one in connections
        )

    def left_over(self) -> dict[str, float]:
        """What is still held, of what should be empty."""
        figures = self.metrics()
        return {name: figures[name] for name in EMPTY if figures[name]} | (
            {"sockets": count} if (count := self.sockets()) else {}
        )

    def kill_engine(self) -> None:
        """End the engine, as the system's killer of memory hogs would; the counting one is told to die."""
        if self.engine == "counting":
            self.process.send_signal(signal.SIGUSR1)
            return
        for child in psutil.Process(self.process.pid).children(recursive=True):
            if "EngineCore" in " ".join(child.cmdline()):
                child.kill()

    def stop(self) -> int:
        """Stop it as an operator would; the exit code."""
        self._http.close()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait(10)
        self._reader.join(10)
        return code
