"""Servers as processes of their own, over real sockets: starting one, asking what it holds, stopping it."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.certificates import ROOT
from tests.live.servers.forks.forked import Forked, start_forked

START_TIMEOUT_S = 240
MODEL = "guide"
FAKE = "tests.live.servers.fake_server"


def pause(since: float) -> None:
    """Sleep between two questions, the first of which was asked at `since`: the longer it takes, the less often.

    What is waited for, such as an engine's start, needs the processors.
    """
    time.sleep(min(max(0.02, (time.monotonic() - since) / 20), 0.2))


def session_of(leader: subprocess.Popen[Any]) -> list[psutil.Process]:
    """Every process of the session that this one began, orphans too."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader.pid and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


@dataclass
class Server:
    """A running server: where it is, and what it says of itself."""

    process: subprocess.Popen[str] | Forked
    log: list[str] = field(default_factory=list)
    url: str = ""
    reader: threading.Thread | None = None
    verify: ssl.SSLContext | bool = True
    """Whom to trust where the server speaks TLS."""

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples with these labels; 0 where there are none yet."""
        return sum(sample.value for sample in self.samples(name) if labels.items() <= sample.labels.items())

    def in_engine(self) -> float:
        """What runs or waits, by this server's own count and by vLLM's: 0 when nothing is left of any request."""
        names = ("twowire_sequences_in_engine", "vllm:num_requests_running", "vllm:num_requests_waiting")
        return sum(sample.value for sample in self.samples(*names))

    def samples(self, *names: str) -> list[Sample]:
        """What /metrics has now under these names."""
        text = httpx.get(f"{self.url}/metrics", timeout=30, verify=self.verify).text
        # To parse all of it takes longer than to ask for it.
        lines = "".join(line for line in text.splitlines(keepends=True) if line.startswith(names))
        families = text_string_to_metric_families(lines)
        return [sample for family in families for sample in family.samples if sample.name in names]

    def wait_until(self, condition: object, limit_s: float, what: object) -> float:
        """Ask `condition()` until it is true; returns the seconds that took. After `limit_s`, fails with `what`."""
        assert callable(condition)
        started = time.monotonic()
        while not condition():
            if time.monotonic() - started > limit_s:
                pytest.fail(f"{what}: not within {limit_s} s")
            pause(started)
        return time.monotonic() - started

    def wait_idle(self, limit_s: float = 2.0) -> float:
        """Wait until the engine holds nothing; the seconds that took."""
        return self.wait_until(lambda: self.in_engine() == 0, limit_s, "requests were left in the engine")

    def is_ready(self) -> bool:
        return httpx.get(f"{self.url}/health", timeout=30, verify=self.verify).status_code == 200

    def engine_processes(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def sdk(self, **options: object) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="unused", max_retries=0, timeout=60, **options)  # type: ignore[arg-type]  # passed through

    def async_sdk(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key="unused", max_retries=0, timeout=60)


def environment() -> dict[str, str]:
    """A clean environment for a server: no setting of the developer's own reaches it, and no hub is asked."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TWOWIRE_")}
    return kept | {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}


def start_server(*flags: str, ready: bool = True, env: Mapping[str, str] | None = None, program: str = "app") -> Server:
    """Start `twowire serve` on a free port; wait for its URL, and until it is ready unless told otherwise."""
    # Without the embedder, which most tests do not need; a flag that comes later wins.
    arguments = ("serve", "--port", "0", "--cpu-kv-cache-gib", "1", "--no-embeddings", *flags)
    return _wait_started(_start(program, arguments, environment() | dict(env or {})), ready=ready)


def _start(program: str, arguments: tuple[str, ...], env: dict[str, str]) -> subprocess.Popen[str] | Forked:
    if program == FAKE and sys.platform == "linux":
        return start_forked(arguments, env)
    command, pipe = [sys.executable, "-m", program, *arguments], subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=env, cwd=ROOT)


def _wait_started(process: subprocess.Popen[str] | Forked, *, ready: bool) -> Server:
    server = Server(process)
    listening, is_up = threading.Event(), threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            server.log.append(line)
            if line.startswith("twowire: listening on "):
                server.url = line.split()[3].rstrip(";")
                listening.set()
            if line.startswith("twowire: ready:"):
                is_up.set()
        listening.set()
        is_up.set()

    server.reader = threading.Thread(target=read, daemon=True)
    server.reader.start()
    wanted = is_up if ready else listening
    try:
        is_late = not wanted.wait(START_TIMEOUT_S)
    except BaseException:
        stop_server(server)
        raise
    if is_late or (ready and process.poll() is not None):
        stop_server(server)
        pytest.fail("the server did not start:\n" + "".join(server.log[-60:]))
    return server


def start_fake_server(*flags: str, ready: bool = True, env: Mapping[str, str] | None = None) -> Server:
    """Start `twowire serve` with the counting engine of `tests.live.servers.fake_server`."""
    # It counts without end for a page that has been closed, and a stop would wait for that.
    return start_server("--drain-timeout-s", "1", *flags, ready=ready, env=env, program=FAKE)


@contextmanager
def fake_server(*flags: str, env: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server with the counting engine until the end of the block, where it has to stop without a complaint."""
    server = start_fake_server(*flags, env=env)
    try:
        yield server
    finally:
        code = stop_server(server)
    assert code == 0, "".join(server.log[-60:])


def stop_server(server: Server, number: int = signal.SIGTERM, limit_s: float = 60) -> int:
    """Stop it as an operator would, and insist; returns the exit code. No process is left behind."""
    children = server.engine_processes() if server.process.poll() is None else []
    if server.process.poll() is None:
        server.process.send_signal(number)
    try:
        code = server.process.wait(limit_s)
    except subprocess.TimeoutExpired:
        server.process.kill()
        code = server.process.wait(10)
    if server.reader is not None and server.process.stdout is not None:
        server.reader.join(10)
        server.process.stdout.close()
    _, alive = psutil.wait_procs(children, timeout=10)
    for child in alive:
        child.kill()
    assert not alive, f"processes were left behind: {alive}"
    return code


@contextmanager
def left_as_found(server: Server) -> Iterator[Server]:
    """Fails the test that leaves a socket, a generation, a log or a task behind in `server`.

    The logs of finished chats that other tests have read are kept for a while; there may only be no more of them.
    """
    kinds = ("websockets", "sequences_in_engine", "resume_logs", "resume_log_bytes", "asyncio_tasks")
    names = [f"twowire_{kind}" for kind in kinds]
    found = held(server, *names)
    yield server
    assert server.process.poll() is None, "the server died:\n" + "".join(server.log[-60:])
    left: dict[str, float] = {}

    def is_as_found() -> bool:
        left.update(held(server, *names))
        return all(left[name] <= value for name, value in found.items())

    server.wait_until(is_as_found, 30, {"there was": found, "there is": left})


def held(server: Server, *names: str) -> dict[str, float]:
    """The sum of each of these metrics."""
    samples = server.samples(*names)
    return {name: sum(sample.value for sample in samples if sample.name == name) for name in names}


@contextmanager
def left_unharmed(server: Server) -> Iterator[Server]:
    """`left_as_found`, and fails the test, too, that made an error of the server's own or broke off a connection."""
    logged = len(server.log)
    with left_as_found(server):
        yield server
    new = server.log[logged:]
    assert not any("Traceback" in line or "connection_failed" in line for line in new), "".join(new)
