"""The wheel: that everything is in it, and that it runs where there is no checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

SCRIPT = """
import asyncio, sys
import app.factory, app.server.wiring, app.config.load, engine.manager, protocol
from engine.registry import text_engine
for package in (app, engine, protocol):
    assert package.__file__.startswith(sys.argv[1]), package.__file__
settings = app.config.load.load_settings([], {})
services = app.server.wiring.make_services(
    settings, engine.manager.EngineManager(text_engine(settings.engine), settings.admission))
async def main():
    client = app.factory.create_app(services).test_client()
    for path in ("/", "/docs", "/static/channel.js", "/static/chat/main.js", "/openapi.json", "/v1/models"):
        answer = await client.get(path)
        assert answer.status_code == 200, (path, answer.status_code)
        print(path, len(await answer.get_data()))
asyncio.run(main())
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


def test_it_runs_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(command, check=True)
    environment = os.environ | {"PYTHONPATH": str(target), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(target)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    version = subprocess.run(
        [str(target / "bin" / "twowire"), "version"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert version.stdout.startswith("twowire "), version.stderr
