"""Runs a command as a user does, in a session of its own, as in its own terminal.

Whatever is left in that session was left behind.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import psutil
import pytest

from tests.certificates import ROOT
from tests.live.servers.server import MODEL, START_TIMEOUT_S, environment, pause, session_of

SERVE = (sys.executable, "-m", "app", "serve", "--cpu-kv-cache-gib", "1")
STOPS_WITHIN_S = 10
CHAT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Tell me."}]}


class Command:
    """A running command, and what it has written so far."""

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
        started = time.monotonic()
        while not condition():
            if time.monotonic() - started > limit_s or (self.process.poll() is not None and not condition()):
                pytest.fail(f"{what}: not within {limit_s} s; it wrote:\n{self.output[-4000:]}")
            pause(started)

    def wait_url(self, pattern: str = r"ready: (http://\S+)") -> str:
        """The URL in the line that matches `pattern`, once it has come."""
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


class Stream(threading.Thread):
    """A long streamed chat, read in a thread."""

    def __init__(self, url: str, **fields: Any) -> None:
        super().__init__(daemon=True)
        # Concatenating text copies it each time, and a reader that slow lags behind the server.
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


def fails_with(command: Command, limit_s: float = 60) -> str:
    """The one error line of a command that ends by itself."""
    command.wait_end(limit_s)
    errors = [line for line in command.lines if line.startswith("twowire: error: ")]
    assert len(errors) == 1, command.output
    return errors[0]


def show(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with capsys.disabled():
        print(f"\n{text}")
