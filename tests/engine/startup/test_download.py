"""How much of a model has been downloaded: huggingface_hub itself downloads from a small hub, a piece at a time."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engine.api import Progress
from engine.config import GUIDE, EngineConfig
from engine.startup import download as module
from engine.startup.download import MISTRAL, PATTERNS, Download, HubFile, find_download, loaded_files, reported_download

NAME = "somebody/model"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "model.safetensors": b"w" * 24_000_000,
    "model.safetensors.index.json": b'{"weight_map": {"a": "model.safetensors", "b": "model.safetensors"}}',
    "unneeded.safetensors": b"u" * 700,
    "config.json": b"{}",
    "pytorch_model.bin": b"b" * 500,
}
"""vLLM downloads what the index names."""
WEIGHTS = len(FILES["model.safetensors"])
PIECE = WEIGHTS // 2

SCRIPT = """
import asyncio
from engine.config import EngineConfig
from engine.startup.download import reported_download
from huggingface_hub import snapshot_download

async def main():
    def report(stage, progress=None):
        print(stage, progress and progress.done, progress and progress.total, flush=True)
    async with reported_download(EngineConfig("somebody/model"), report):
        await asyncio.to_thread(input)
        await asyncio.to_thread(snapshot_download, "somebody/model", allow_patterns=["model.safetensors"])
        await asyncio.to_thread(input)

asyncio.run(main())
"""


class Hub(ThreadingHTTPServer):
    """A hub with one model. The second half of its weights waits for `goes_on`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.goes_on = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.answer(sends=False)

    def do_GET(self) -> None:
        self.answer(sends=True)

    def answer(self, *, sends: bool) -> None:
        path = self.path.partition("?")[0]
        if "/tree/" in path:
            body = json.dumps(
                [{"type": "file", "oid": "a" * 40, "path": name, **sibling(name)} for name in FILES]
            ).encode()
            self.begin(body, {"Content-Type": "application/json"})
        elif path.startswith("/api/models/"):
            body = json.dumps({"id": NAME, "sha": COMMIT, "siblings": [sibling(name) for name in FILES]}).encode()
            self.begin(body, {"Content-Type": "application/json"})
        else:
            body = FILES[path.rpartition("/")[2]]
            headers = {"ETag": f'"{etag(body)}"', "X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(body))}
            self.begin(body, headers)
        if sends:
            self.wfile.write(body[:PIECE])
            if len(body) > PIECE:
                self.wfile.flush()
                self.server.goes_on.wait(60)
                self.wfile.write(body[PIECE:])

    def begin(self, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def etag(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def sibling(name: str) -> dict[str, object]:
    body = FILES[name]
    return {
        "rfilename": name,
        "size": len(body),
        "blobId": "a" * 40,
        "lfs": {"size": len(body), "sha256": etag(body), "oid": etag(body), "pointerSize": 134},
    }


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield hub
        hub.goes_on.set()
        hub.shutdown()
        thread.join()


def test_a_download_is_reported_byte_by_byte(hub: Hub, tmp_path: Path) -> None:
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdin=pipe, stdout=pipe, text=True, env=environment) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        lines = iter(child.stdout.readline, "")
        # Before the first byte.
        assert next(lines) == f"downloading the model 0 {WEIGHTS}\n"
        child.stdin.write("\n")
        child.stdin.flush()
        # huggingface_hub writes ten megabytes at a time.
        done = next(number for line in lines if (number := int(line.split()[3])))
        assert 0 < done <= PIECE
        hub.goes_on.set()
        last = next(line for line in lines if not line.startswith("downloading"))
        assert last == "loading the model None None\n"
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.wait(60) == 0


def file(name: str, size: int = 100) -> HubFile:
    return HubFile(name, size, name)


@pytest.mark.parametrize(
    ("names", "patterns", "loaded"),
    [
        (["model.safetensors", "pytorch_model.bin", "config.json"], PATTERNS, ["model.safetensors"]),
        (["pytorch_model.bin", "model.pt"], PATTERNS, ["pytorch_model.bin"]),
        (["consolidated.safetensors", "model.safetensors"], (MISTRAL, *PATTERNS), ["consolidated.safetensors"]),
        (
            ["a.safetensors", "b.safetensors", "original/a.safetensors", "model.safetensors.index.json"],
            PATTERNS,
            ["a.safetensors"],
        ),
        (
            ["consolidated.safetensors", "a.safetensors", "model.safetensors.index.json"],
            (MISTRAL, *PATTERNS),
            ["consolidated.safetensors"],
        ),
        (["another.safetensors", "model.safetensors.index.json"], PATTERNS, ["another.safetensors"]),
        (["config.json"], PATTERNS, []),
    ],
)
def test_of_several_kinds_of_weights_one_is_loaded(names: list[str], patterns: list[str], loaded: list[str]) -> None:
    found = loaded_files([file(name) for name in names], patterns, lambda: {"a.safetensors"})
    assert [one.name for one in found] == loaded


class Stuck:
    """A download that ends below its total, after some growth."""

    def __init__(self, *done: int) -> None:
        self._done = iter(done)
        self.ended = threading.Event()

    def progress(self) -> Progress:
        done = next(self._done, None)
        if done is None:
            self.ended.set()
        return Progress(7 if done is None else done, 10, "bytes")


@pytest.mark.parametrize(
    ("done", "reported"),
    [((0, 0, 4, 4, 2, 4, 7, 7, 7), [0, 4, 7]), ((7, 7, 7), []), ((5, 5, 7, 7), [7])],
)
async def test_only_growth_is_reported(
    done: tuple[int, ...], reported: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    download = Stuck(*done)
    monkeypatch.setattr(module, "find_download", lambda _: download)
    monkeypatch.setattr(module, "POLL_S", 0)
    reports: list[tuple[str, Progress | None]] = []
    async with reported_download(EngineConfig(NAME), lambda stage, progress=None: reports.append((stage, progress))):
        assert await asyncio.to_thread(download.ended.wait, 60)
    assert reports == [(module.STAGE, Progress(number, 10, "bytes")) for number in reported]


def test_what_an_earlier_download_left_does_not_count(tmp_path: Path) -> None:
    download = Download(tmp_path, (file("a"), file("b")))
    assert download.progress() == Progress(0, 200, "bytes")
    for name, size, age_s in (("a.11111111", 90, 100), ("a.22222222", 10, 50)):
        left = tmp_path / f"{name}.incomplete"
        left.write_bytes(b"." * size)
        os.utime(left, (1_700_000_000 - age_s,) * 2)
    (tmp_path / "b").write_bytes(b"." * 100)
    (tmp_path / "another").write_bytes(b"." * 1000)
    assert download.progress() == Progress(110, 200, "bytes")
    (tmp_path / "a").write_bytes(b"." * 100)
    assert download.progress() == Progress(200, 200, "bytes")


async def test_nothing_is_asked_of_a_hub_for_a_folder_or_a_format_without_files() -> None:
    for config in (EngineConfig(str(GUIDE)), EngineConfig(NAME, extra={"load_format": "dummy"})):
        assert find_download(config) is None
    stages: list[str] = []
    async with reported_download(EngineConfig(str(GUIDE)), lambda *what: stages.append(what[0])):
        pass
    assert stages == []
