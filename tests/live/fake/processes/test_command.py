"""The command without the real engine: its one-line errors, and how it stops.

With the engine and its processes: `tests/live/real/processes/test_command.py`.
"""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from engine.config import GUIDE
from tests.certificates import ROOT
from tests.live.servers.command import CHAT, SERVE, STOPS_WITHIN_S, Command, Stream, fails_with, show
from tests.live.servers.held import Leash
from tests.live.servers.server import environment

FAKE = (sys.executable, "-m", "tests.live.servers.fake_server", "serve", "--port", "0")


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
    command = launch(*FAKE, *flags, env={"FAKE_FAILS": reason})
    assert fails_with(command) == command.lines[-1] == f"twowire: error: {reason}\n"
    assert command.process.returncode == 1
    # Of several API servers, one may be told to stop before it has failed by itself.
    assert not re.search("stopped" if flags else "draining|stopped", command.output)


def test_a_chat_template_that_is_not_there_ends_in_one_line(launch: Callable[..., Command]) -> None:
    command = launch(*SERVE, "--chat-template", "./nothing.jinja")
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


def test_sigterm_lets_a_stream_finish_and_refuses_new_ones(
    launch: Callable[..., Command], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    leash = Leash(tmp_path / "leash")
    leash.reaches(5)
    command = launch(*FAKE, env={"FAKE_LEASH": str(leash.path), "FAKE_PACE_S": "0.001"})
    url = command.wait_url()
    streams = [Stream(url, max_tokens=40) for _ in range(4)]
    try:
        command.wait_until(lambda: all('"content"' in stream.text for stream in streams), 60, "no token came")
        command.process.send_signal(signal.SIGTERM)
        command.wait_until(lambda: "draining" in httpx.get(f"{url}/health", timeout=30).text, 5, "it does not drain")
        assert httpx.get(f"{url}/livez", timeout=30).status_code == 200
        refused = httpx.post(f"{url}/v1/chat/completions", json=CHAT, timeout=30)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "server_draining")
        assert int(refused.headers["retry-after"]) >= 1
        assert all(stream.is_alive() for stream in streams), "a stream was not finished"
    finally:
        leash.reaches(40)
    for stream in streams:
        *chunks, done = stream.events()
        assert done == "[DONE]"
        choices = [choice for chunk in chunks for choice in json.loads(chunk)["choices"]]
        assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["length"]
    stop_s = command.wait_end(STOPS_WITHIN_S)
    show(capsys, f"ended {stop_s:.1f} s after its last stream")
    assert command.process.returncode == 0


def test_ctrl_c_ends_an_idle_server_soon(launch: Callable[..., Command], capsys: pytest.CaptureFixture[str]) -> None:
    command = launch(*FAKE)
    url = command.wait_url()
    # A client that keeps its connection, as most do, does not hold it up.
    with httpx.Client(base_url=url, timeout=60) as client:
        assert client.post("/v1/chat/completions", json=CHAT | {"max_tokens": 4}).status_code == 200
        command.interrupt()
        stop_s = command.wait_end(STOPS_WITHIN_S)
    show(capsys, f"an idle server stopped within {stop_s:.1f} s")
    assert command.process.returncode == 0


class Terminal:
    """The fake server on a terminal of its own, and what has been drawn there."""

    def __init__(self, **env: str) -> None:
        mine, its = pty.openpty()
        settings = environment() | {"TERM": "xterm"} | env
        self.process = subprocess.Popen(
            (*FAKE, "--no-embeddings"),
            stdin=its,
            stdout=its,
            stderr=its,
            env=settings,
            cwd=ROOT,
            start_new_session=True,
        )
        os.close(its)
        self.drawn = ""
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, args=(mine,), daemon=True)
        self._reader.start()

    def _read(self, mine: int) -> None:
        with open(mine, "rb", buffering=0) as screen:
            while True:
                try:
                    got = screen.read(65536)
                except OSError:  # EIO: nothing has it open any more.
                    return
                with self._changed:
                    self.drawn += got.decode()
                    self._changed.notify_all()

    def wait(self, text: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.drawn, 60), self.drawn

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(60)
        finally:
            self.process.kill()
            self._reader.join(10)


def test_a_terminal_shows_the_start_and_then_where_the_page_is(tmp_path: Path) -> None:
    loaded = tmp_path / "loaded"
    terminal = Terminal(FAKE_LOADED=str(loaded))
    try:
        terminal.wait("\r\x1b[KLoading the model: 1 of 4 files (")
        loaded.touch()
        terminal.wait("Embeddings  none; embeddings are switched off")
    finally:
        code = terminal.stop()
    start, _, ready = terminal.drawn.partition("Ready after")
    assert code == 0
    # Neither log lines nor the lines for programs.
    assert re.fullmatch(r"twowire \S+ on http://127\.0\.0\.1:\d+; the model is loading\. .*", start.splitlines()[0])
    assert "engine_" not in start
    assert "twowire: " not in terminal.drawn
    assert re.match(r" \d+ s\.\s+Chat +http://127\.0\.0\.1:\d+/\s+Docs +http://\S+/docs\s", ready)
