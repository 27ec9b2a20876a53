"""The npm package `twowire-client` as `npm pack` makes it: its files, its types, its React hook."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
import tomllib
from pathlib import Path

import pytest

from tests.certificates import ROOT
from tests.live.clients.node import packages

SOURCE = ROOT / "clients" / "javascript"
HERE = Path(__file__).parent
DOCUMENTS = (ROOT / "docs" / "guides" / "clients.md", SOURCE / "README.md")
FENCE = re.compile(r"^```(js|jsx|ts|tsx)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run(*words: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    command = [str(word) for word in words]
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | (env or {}), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packed package in its `node_modules`, and React beside it."""
    modules = packages("the compiler of the package's types")
    folder = tmp_path_factory.mktemp("application")
    run("node", SOURCE / "build.mjs", folder / "build", cwd=ROOT)
    run("npm", "pack", "--silent", folder / "build" / "package", cwd=folder)
    (packed,) = folder.glob("*.tgz")
    with tarfile.open(packed) as archive:
        archive.extractall(folder / "node_modules", filter="data")
    (folder / "node_modules" / "package").rename(folder / "node_modules" / "twowire-client")
    (folder / "node_modules" / "@types").mkdir()
    for name in ("react", "react-test-renderer", "@types/react"):
        (folder / "node_modules" / name).symlink_to(modules / name)
    return folder


def test_what_is_in_it(application: Path) -> None:
    package = application / "node_modules" / "twowire-client"
    files = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    channel = {f"channel/{path.name}" for path in (ROOT / "static" / "channel").glob("*.js")}
    scripts = {"channel.js", "chat.js", "react.js"} | channel
    assert files == scripts | {name.replace(".js", ".d.ts") for name in scripts} | {
        "package.json",
        "README.md",
        "LICENSE",
    }
    for name in {"channel.js"} | channel:
        assert (package / name).read_bytes() == (ROOT / "static" / name).read_bytes()
    manifest = json.loads((package / "package.json").read_text())
    assert manifest["version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"### {manifest['version']}" in (package / "README.md").read_text()
    exported = {path for name in (".", "./react") for path in manifest["exports"][name].values()}
    assert exported <= {f"./{name}" for name in files}


def test_an_application_compiles_against_its_types(application: Path) -> None:
    """The sample, and the examples of the documents."""
    shutil.copy(HERE / "sample.tsx", application)
    examples = [match[2] for file in DOCUMENTS for match in FENCE.finditer(file.read_text("utf-8"))]
    assert len(examples) > 3
    for number, example in enumerate(examples):
        (application / f"example{number}.tsx").write_text(example)
    options = {
        "strict": True,
        "noEmit": True,
        "target": "es2022",
        "module": "nodenext",
        "jsx": "react-jsx",
        "lib": ["es2023", "dom", "dom.iterable", "dom.asynciterable"],
    }
    (application / "package.json").write_text('{"type": "module"}')
    (application / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "include": ["*.tsx"]}))
    run(packages("the compiler") / ".bin" / "tsc", "-p", ".", cwd=application)


def test_the_hook(application: Path) -> None:
    shutil.copy(HERE / "hook.test.mjs", application)
    fakes = (ROOT / "tests" / "js" / "fakes.mjs").as_uri()
    environment = {"FAKES": fakes, "NODE_ENV": "test"}
    printed = run("node", "--test", "--test-reporter=tap", "hook.test.mjs", cwd=application, env=environment)
    assert "# pass 15" in printed
