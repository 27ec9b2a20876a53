"""The package `twowire-client`: its wheel in an environment that has `websockets` and nothing else."""

from __future__ import annotations

import asyncio
import importlib.metadata
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.app.channel.fake_channel import Peer, fake

ROOT = Path(__file__).resolve().parents[3]
PROJECT = ROOT / "clients" / "python"

SCRIPT = """
import asyncio, sys
import twowire_client

async def main():
    async with twowire_client.Channel.connect(sys.argv[1]) as channel:
        chat = await channel.create(model="m", messages=[{"role": "user", "content": "Hello"}], resume_grace_s=9)
        print(await chat.text(), chat.status, chat.seq, twowire_client.__file__)

asyncio.run(main())
"""


EXAMPLES_SERVER = "http://127.0.0.1:8000"


def first_example(document: Path) -> str:
    example = document.read_text("utf-8").partition("```python\n")[2].partition("```")[0]
    assert EXAMPLES_SERVER in example
    return example


def pip(*words: str | Path) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "--quiet", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, PROJECT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel. `websockets` comes from this one, so that no network is needed."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in ("websockets", f"websockets-{importlib.metadata.version('websockets')}.dist-info"):
        source = Path(str(importlib.metadata.distribution("websockets").locate_file(name)))
        shutil.copytree(source, packages / name)
    # Without an index, it fails if the wheel wants anything else.
    pip("--python", folder / "bin" / "python", "install", "--no-index", wheel)
    return folder / "bin" / "python"


def test_everything_is_in_it(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {path.relative_to(PROJECT).as_posix() for path in (PROJECT / "twowire_client").glob("*.py")}
    assert len(sources) > 5
    of_the_wheel = {name for name in names if ".dist-info/" not in name}
    assert of_the_wheel == sources | {"twowire_client/py.typed"}
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert (PROJECT / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


async def test_it_works_with_websockets_alone(python: Path) -> None:
    async def cut(peer: Peer) -> None:
        await peer.chunks(await peer.create("token"), 1, "two ")
        peer.cut()

    async def resumed(peer: Peer) -> None:
        frame = await peer.next("chat.completion.resume")
        name, seq = frame["stream_id"], frame["starting_after"]
        await peer.send("chat.completion.resumed", stream_id=name, event_id=frame["event_id"], id=frame["id"])
        await peer.chunks(name, seq + 1, "two wires"[seq:])
        await peer.done(name, 9)

    async with fake(cut, resumed) as url:
        # Isolated, so that no checkout is on the path.
        client = await asyncio.create_subprocess_exec(python, "-I", "-c", SCRIPT, url, stdout=asyncio.subprocess.PIPE)
        printed, _ = await client.communicate()
    assert client.returncode == 0
    text, of_file = printed.decode().split(" completed 9 ")
    assert text == "two wires"
    assert Path(of_file).is_relative_to(python.parents[1])


@pytest.mark.parametrize(
    "document", [PROJECT / "README.md", ROOT / "docs" / "guides" / "clients.md"], ids=lambda path: path.name
)
async def test_the_documents_example_runs(python: Path, document: Path) -> None:
    async def script(peer: Peer) -> None:
        frame = await peer.next("chat.completion.create")
        assert frame["body"] == {"model": "guide", "messages": [{"role": "user", "content": "Hello"}]}
        name = frame["stream_id"]
        await peer.send("chat.completion.created", stream_id=name, event_id=frame["event_id"], id="c", resume_token="t")
        await peer.chunks(name, 1, "Hi there")
        await peer.done(name, 8)

    async with fake(script) as url:
        words = ("-I", "-c", first_example(document).replace(EXAMPLES_SERVER, url))
        client = await asyncio.create_subprocess_exec(python, *words, stdout=asyncio.subprocess.PIPE)
        printed, _ = await client.communicate()
    assert client.returncode == 0
    assert printed.startswith(b"Hi there")


def test_all_versions_are_the_servers() -> None:
    server = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version = server["version"]
    assert server["optional-dependencies"]["client"] == [f"twowire-client=={version}"]
    assert tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"] == version
    assert f"### {version}" in (PROJECT / "README.md").read_text()
