"""The command as a user meets it, with the real engine: its first seconds, and how it stops.

What needs no engine: `tests/live/fake/processes/test_command.py`.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.live.servers.command import CHAT, SERVE, STOPS_WITHIN_S, Command, Stream, show
from tests.live.servers.held import BRAKE_ARGS, BRAKE_FILE, braked
from tests.live.servers.ports import unused_port
from tests.live.servers.server import START_TIMEOUT_S

pytestmark = [pytest.mark.slow, pytest.mark.timeout(START_TIMEOUT_S + 60)]

PORT_OPENS_WITHIN_S = 60


@contextmanager
def streaming_slowly(launch: Callable[..., Command], file: Path) -> Iterator[tuple[Command, str, Stream]]:
    """A server, its URL, and a stream whose first token has come; the others take their time until the block ends."""
    command = launch(*SERVE, "--port", "0", "--engine-args", BRAKE_ARGS, env={BRAKE_FILE: str(file)})
    url = command.wait_url()
    with braked(file):
        stream = Stream(url)
        command.wait_until(lambda: '"content"' in stream.text, 60, "no token came")
        yield command, url, stream


def accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("stage", ["importing vLLM", "loading the model"])
def test_the_port_opens_at_once_and_a_stop_during_the_start_is_quick(
    launch: Callable[..., Command], stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    port = unused_port()
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
