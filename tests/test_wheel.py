"""The wheel: that everything is in it, and that it runs where there is no checkout and no extra."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent

SCRIPT = """
import asyncio, sys
import app.cli, app.factory, app.server.wiring, app.config.load, app.observability.traces
import engine.manager, engine.speech.decoder, protocol
from engine.registry import text_engine
for package in (app, engine, protocol):
    assert package.__file__.startswith(sys.argv[1]), package.__file__
settings = app.config.load.load_settings([], {})
services = app.server.wiring.make_services(
    settings, engine.manager.EngineManager(text_engine(settings.engine), settings.admission))
try:
    app.observability.traces.Traces("http://127.0.0.1:1")
except app.observability.traces.NotInstalled as missing:
    print(missing)
assert not engine.speech.decoder.is_available()
async def main():
    client = app.factory.create_app(services).test_client()
    for path in ("/", "/docs", "/static/channel.js", "/static/chat/main.js", "/openapi.json", "/v1/models"):
        answer = await client.get(path)
        assert answer.status_code == 200, (path, answer.status_code)
        print(path, len(await answer.get_data()))
asyncio.run(main())
app.cli.main(["--help"])
for flags in ([], ["--store", "redis://127.0.0.1:1"], ["--embedding-model", "mine=./nowhere"]):
    assert app.cli.main(["serve", "--port", "0", *flags]) == 1
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(ROOT)], check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_everything_is_in_it(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in ("app", "engine", "protocol"):
        sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py")}
        assert sources <= names
        assert f"{package}/py.typed" in names
    pages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "static").rglob("*.*") if path.is_file()}
    assert {f"app/{page}" for page in pages} <= names
    if shutil.which("npm"):
        # The libraries are no part of the repository, but of the wheel.
        libraries = ("marked.js", "purify.js", "highlight/core.js", "swagger-ui/swagger-ui-bundle.js")
        assert {f"app/static/vendor/{name}" for name in libraries} <= names
    assert not [name for name in names if name.startswith(("tests/", "docs/")) or "__pycache__" in name]


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the wheel and what it requires, but no extra."""
    folder = tmp_path_factory.mktemp("bare")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), str(wheel)]
    subprocess.run(command, check=True)
    (own,) = folder.glob("*.dist-info")
    for name in required(Distribution.at(own).requires or ()):
        # As in an environment of its own, but nothing has to be downloaded.
        for top in {file.parts[0] for file in distribution(name).files or () if ".." not in file.parts}:
            (folder / top).symlink_to(Path(str(distribution(name).locate_file(top))))
    return folder


def required(requirements: Iterable[str]) -> set[str]:
    """The distributions that these requirements lead to in this environment."""
    found: set[str] = set()
    left = [(requirement, "") for requirement in requirements]
    seen = set()
    while left:
        text, extra = one = left.pop()
        requirement = Requirement(text)
        if one in seen or not (requirement.marker is None or requirement.marker.evaluate({"extra": extra})):
            continue
        seen.add(one)
        found.add(canonicalize_name(requirement.name))
        # Without an extra, and with each that is asked for.
        wanted = ("", *requirement.extras)
        left += [(each, of) for each in distribution(requirement.name).requires or () for of in wanted]
    return found


def run(bare: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command that finds the standard library and what is in `bare`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TWOWIRE_")}
    environment |= {"PYTHONPATH": str(bare), "XDG_CACHE_HOME": str(folder)}
    return subprocess.run(
        [sys.executable, "-S", *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


def test_it_runs_without_the_checkout_and_without_extras(bare: Path, tmp_path: Path) -> None:
    done = run(bare, tmp_path, "-c", SCRIPT, str(bare))
    assert done.returncode == 0, done.stderr
    assert "serve     Start the server" in done.stdout
    assert "traces need OpenTelemetry, the extra twowire[otel]" in done.stdout
    assert [line.removeprefix("twowire: error: ") for line in done.stderr.splitlines()] == [
        "vLLM is not installed; install the extra twowire[cpu], or twowire[cuda] for a GPU",
        "--store: redis-py is not installed; install the extra twowire[redis]",
        "--embedding-model: sentence-transformers is not installed; install the extra twowire[embeddings]",
    ]
    version = run(bare, tmp_path, str(bare / "bin" / "twowire"), "version")
    assert version.stdout.startswith("twowire "), version.stderr
