"""The command as a user meets it: its first seconds, its one-line errors, and how it stops.

Each runs in a session of its own, as in a terminal of its own; whatever is left in that session was left behind.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from engine.config import GUIDE
from tests.live.servers.held import BRAKE_ARGS, BRAKE_FILE, braked
from tests.live.servers.server import MODEL, START_TIMEOUT_S, environment, session_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(START_TIMEOUT_S + 60)]

ROOT = Path(__file__).resolve().parents[4]
SERVE = (sys.executable, "-m", "app", "serve", "--cpu-kv-cache-gib", "1")
PORT_OPENS_WITHIN_S = 10  # About 3 s is the aim; a busy machine needs more.
STOPS_WITHIN_S = 10
CHAT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Tell me."}]}


class Command:
    """A running command, and what it has written until now."""

    def __init__(self, *command: str, env: dict[str, str] | None = None) -> None:
        self.started_at = time.monotonic()
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment() | (env or {}),
            cwd=ROOT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            self.lines.extend(iter(output.readline, ""))

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def wait_until(self, condition: Callable[[], object], limit_s: float, what: str) -> None:
        deadline = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > deadline or (self.process.poll() is not None and not condition()):
                pytest.fail(f"{what}: not within {limit_s} s; it wrote:\n{self.output[-4000:]}")
            time.sleep(0.02)  # Between two questions.

    def wait_url(self, pattern: str = r"ready: (http://\S+)") -> str:
        """The URL in the line that `pattern` fits, once it is there."""
        self.wait_until(lambda: re.search(pattern, self.output), START_TIMEOUT_S, f"no {pattern}")
        found = re.search(pattern, self.output)
        assert found is not None
        return found[1]

    def wait_end(self, limit_s: float) -> float:
        """Wait for its end; the seconds that took. Nothing of it may be left, nor a traceback in its output."""
        asked_at = time.monotonic()
        try:
            self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it did not end within {limit_s} s; it wrote:\n{self.output[-4000:]}")
        took_s = time.monotonic() - asked_at
        while self.session() and time.monotonic() < asked_at + took_s + 2:
            time.sleep(0.02)
        assert not self.session(), f"left behind: {self.session()}"
        self._reader.join(5)
        assert "Traceback" not in self.output, self.output
        return took_s

    def session(self) -> list[psutil.Process]:
        return session_of(self.process)

    def interrupt(self) -> None:
        """What Ctrl+C does: the signal goes to every process of the terminal."""
        os.killpg(self.process.pid, signal.SIGINT)


@pytest.fixture
def launch() -> Iterator[Callable[..., Command]]:
    """Start commands; whatever of them is left at the end is killed."""
    commands: list[Command] = []

    def start(*command: str, env: dict[str, str] | None = None) -> Command:
        commands.append(Command(*command, env=env))
        return commands[-1]

    yield start
    for command in commands:
        for process in command.session():
            process.kill()
        command.process.wait(10)


class Stream(threading.Thread):
    """A long streamed chat, read in a thread."""

    def __init__(self, url: str, **fields: Any) -> None:
        super().__init__(daemon=True)
        # Text that grows is copied with each piece, and so slow a reader lags behind the server.
        self._pieces: list[str] = []
        self._url = url
        self._body = CHAT | {"stream": True, "ignore_eos": True, "max_tokens": 1900} | fields
        self.start()

    def run(self) -> None:
        with httpx.stream("POST", f"{self._url}/v1/chat/completions", json=self._body, timeout=60) as response:
            for text in response.iter_text():
                self._pieces.append(text)

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def events(self) -> list[str]:
        self.join(60)
        assert not self.is_alive()
        return [event.removeprefix("data: ") for event in self.text.split("\n\n") if event.startswith("data: ")]


@contextmanager
def streaming_slowly(
    launch: Callable[..., Command], file: Path, **fields: Any
) -> Iterator[tuple[Command, str, Stream]]:
    """A server, its URL, and a stream whose first token has come; the others take their time until the block ends."""
    command = launch(*SERVE, "--port", "0", "--engine-args", BRAKE_ARGS, env={BRAKE_FILE: str(file)})
    url = command.wait_url()
    with braked(file):
        stream = Stream(url, **fields)
        command.wait_until(lambda: '"content"' in stream.text, 60, "no token came")
        yield command, url, stream


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def show(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with capsys.disabled():
        print(f"\n{text}")


@pytest.mark.parametrize("stage", ["importing vLLM", "loading the model"])
def test_the_port_opens_at_once_and_a_stop_during_the_start_is_quick(
    launch: Callable[..., Command], stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    command = launch(*SERVE, "--port", str(port))
    command.wait_until(lambda: accepts(port), PORT_OPENS_WITHIN_S, "the port is closed")
    open_s = time.monotonic() - command.started_at
    url = f"http://127.0.0.1:{port}"
    command.wait_until(lambda: stage in httpx.get(f"{url}/health", timeout=30).text, START_TIMEOUT_S, stage)
    health = httpx.get(f"{url}/health", timeout=30)
    assert health.status_code == 503
    assert (health.json()["state"], health.json()["reason"]) == ("starting", stage)
    assert httpx.get(f"{url}/livez", timeout=30).status_code == 200
    refused = httpx.post(f"{url}/v1/chat/completions", json=CHAT, timeout=30)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_not_ready")
    assert stage in refused.json()["error"]["message"]
    if stage == "loading the model":  # The tracker of shared memory, and the engine core.
        command.wait_until(lambda: len(command.session()) > 2, START_TIMEOUT_S, "no engine process")
    command.process.send_signal(signal.SIGTERM)
    stop_s = command.wait_end(STOPS_WITHIN_S)
    show(capsys, f"port open after {open_s:.1f} s; stopped while {stage} within {stop_s:.1f} s")
    assert command.process.returncode == 0


def fails_with(command: Command, limit_s: float = 60) -> str:
    """The one error line of a command that ends by itself."""
    command.wait_end(limit_s)
    errors = [line for line in command.lines if line.startswith("twowire: error: ")]
    assert len(errors) == 1, command.output
    return errors[0]


def test_a_model_that_is_no_folder_of_one_ends_in_one_line(launch: Callable[..., Command], tmp_path: Path) -> None:
    command = launch(*SERVE, "--model", "./nowhere")
    assert fails_with(command) == "twowire: error: --model: there is no folder './nowhere'\n"
    assert (command.process.returncode, len(command.lines)) == (1, 1)
    cut = tmp_path / "cut"
    shutil.copytree(GUIDE, cut)
    os.truncate(cut / "model.safetensors", 1_000_000)
    starts = {
        "holds no config.json": launch(*SERVE, "--model", str(tmp_path)),
        "--model: '" + str(cut / "model.safetensors") + "' is incomplete": launch(*SERVE, "--model", str(cut)),
        "--embedding-model: there is no folder": launch(*SERVE, "--embedding-model", "mine=./nowhere"),
        "HF_HUB_OFFLINE": launch(*SERVE, "--model", "some-org/some-model"),
    }
    for said, command in starts.items():
        assert said in fails_with(command)
        assert (command.process.returncode, len(command.lines)) == (1, 1)


@pytest.mark.parametrize("flags", [(), ("--api-server-count", "2")])
def test_why_it_could_not_start_is_the_last_line(launch: Callable[..., Command], flags: tuple[str, ...]) -> None:
    reason = "--model: it cannot be served"
    fake = (sys.executable, "-m", "tests.live.servers.fake_server", "serve", "--port", "0")
    command = launch(*fake, *flags, env={"FAKE_FAILS": reason})
    assert fails_with(command) == command.lines[-1] == f"twowire: error: {reason}\n"
    assert command.process.returncode == 1
    assert not re.search("draining|stopped", command.output)


def test_a_broken_chat_template_ends_in_one_line(launch: Callable[..., Command]) -> None:
    for template in ("./nothing.jinja", "{% if %}"):
        command = launch(*SERVE, "--chat-template", template)
        assert "--chat-template" in fails_with(command)
        assert command.process.returncode != 0


def test_too_few_open_files_end_in_one_line_that_says_how_many_it_takes(launch: Callable[..., Command]) -> None:
    command = launch("prlimit", "--nofile=64:64", *SERVE, "--port", "0")
    assert "open files is 64, and the server needs at least 256" in fails_with(command)
    assert (command.process.returncode, len(command.lines)) == (1, 1)


def test_a_port_in_use_ends_in_one_line(launch: Callable[..., Command]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = launch(*SERVE, "--port", str(taken.getsockname()[1]))
        assert "--port: cannot listen on 127.0.0.1:" in fails_with(command)
    assert (command.process.returncode, len(command.lines)) == (1, 1)


def test_an_unknown_engine_argument_ends_in_one_line(launch: Callable[..., Command]) -> None:
    command = launch(*SERVE, "--port", "0", "--engine-args", '{"no_such_argument": 1}')
    error = fails_with(command, START_TIMEOUT_S)
    assert "--engine-args" in error
    assert "no_such_argument" in error
    assert command.process.returncode == 1


def test_sigterm_lets_a_stream_finish_and_refuses_new_ones(
    launch: Callable[..., Command], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with streaming_slowly(launch, tmp_path / "step_s", n=4) as (command, url, stream):
        command.process.send_signal(signal.SIGTERM)
        command.wait_until(lambda: "draining" in httpx.get(f"{url}/health", timeout=30).text, 5, "it does not drain")
        assert httpx.get(f"{url}/livez", timeout=30).status_code == 200
        refused = httpx.post(f"{url}/v1/chat/completions", json=CHAT, timeout=30)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "server_draining")
        assert int(refused.headers["retry-after"]) >= 1
        assert stream.is_alive(), "the stream was over too soon to show anything"
    *chunks, done = stream.events()
    assert done == "[DONE]"
    choices = [choice for chunk in chunks for choice in json.loads(chunk)["choices"]]
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["length"] * 4
    stop_s = command.wait_end(STOPS_WITHIN_S)
    show(capsys, f"ended {stop_s:.1f} s after its last stream")
    assert command.process.returncode == 0


def test_ctrl_c_drains_and_ctrl_c_again_ends_at_once(launch: Callable[..., Command], tmp_path: Path) -> None:
    with streaming_slowly(launch, tmp_path / "step_s") as (command, url, stream):
        command.interrupt()
        command.wait_until(lambda: "draining" in httpx.get(f"{url}/health", timeout=30).text, 5, "it does not drain")
        # The engine's processes have got the signal too, and must go on.
        more = stream.text.count("data: ") + 20
        command.wait_until(lambda: stream.text.count("data: ") > more, 25, "the stream stands still")
        assert stream.is_alive(), "the stream was over too soon to show anything"
        command.interrupt()
        asked_at = time.monotonic()
        *_, last, done = stream.events()
        assert time.monotonic() - asked_at < 5
    assert done == "[DONE]"
    error = json.loads(last)["error"]
    assert error["code"] == "server_draining"
    assert "shutting down" in error["message"]
    command.wait_end(STOPS_WITHIN_S)
    assert command.process.returncode == 0


def test_ctrl_c_ends_an_idle_server_soon(launch: Callable[..., Command], capsys: pytest.CaptureFixture[str]) -> None:
    command = launch(*SERVE, "--port", "0")
    url = command.wait_url()
    # A client that keeps its connection, as most do, does not hold it up.
    with httpx.Client(base_url=url, timeout=60) as client:
        assert client.post("/v1/chat/completions", json=CHAT | {"max_tokens": 4}).status_code == 200
        command.interrupt()
        stop_s = command.wait_end(STOPS_WITHIN_S)
    show(capsys, f"an idle server stopped within {stop_s:.1f} s")
    assert command.process.returncode == 0


def test_hypercorn_itself_serves_the_app(launch: Callable[..., Command]) -> None:
    variables = {"TWOWIRE_SERVED_MODEL_NAME": "mine", "TWOWIRE_CPU_KV_CACHE_GIB": "1"}
    command = launch(sys.executable, "-m", "hypercorn", "app.asgi:app", "--bind", "127.0.0.1:0", env=variables)
    url = command.wait_url(r"Running on (http://\S+)")
    command.wait_until(
        lambda: httpx.get(f"{url}/health", timeout=30).status_code == 200, START_TIMEOUT_S, "it is not ready"
    )
    stream = Stream(url, model="mine", max_tokens=20)
    assert stream.events()[-1] == "[DONE]"
    assert len(stream.events()) > 5
    command.process.send_signal(signal.SIGTERM)
    command.wait_end(60)
    assert command.process.returncode == 0
