"""The `twowire` command: what it prints, what it returns, what it imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from app.cli import main
from app.config.load import Settings

ROOT = Path(__file__).parents[2]


class Server(ModuleType):
    """Stands where `app.server.run` does, and keeps the settings that it was started with."""

    def __init__(self) -> None:
        super().__init__("app.server.run")
        self.started_with: list[Settings] = []

    def run(self, settings: Settings) -> int:
        self.started_with.append(settings)
        return 7


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setitem(sys.modules, "app.server.run", server)
    # `from app.server.run import …` asks sys.modules first, so the package needs no attribute of that name.
    for name in list(os.environ):
        if name.startswith("TWOWIRE_"):
            monkeypatch.delenv(name)
    return server


def test_serve_runs_the_server_with_the_settings_and_returns_its_code(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWOWIRE_MAX_QUEUED", "5")
    assert main(["serve", "--port", "0"]) == 7
    assert [(s.listening.port, s.admission.queued) for s in server.started_with] == [(0, 5)]


def test_the_arguments_of_the_process_are_the_default(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["twowire", "serve", "--port", "1"])
    assert main() == 7
    assert server.started_with[0].listening.port == 1


def test_a_wrong_value_stops_the_start_in_one_line(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--port", "70000"]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", "twowire: error: --port: must be at most 65535, got 70000\n")
    assert server.started_with == []


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["srve"], "unknown command 'srve' (did you mean 'serve'?)"),
        (["xyzzy"], "unknown command 'xyzzy' (see `twowire --help`)"),
        (["--port=1"], "--port: options come after the command, as in `twowire serve --port 8000`"),
    ],
)
def test_a_wrong_command_says_what_to_write(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    assert capsys.readouterr().err == f"twowire: error: {message}\n"


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"], ["help"]])
def test_the_overview_has_two_examples(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert out.count("\n  twowire serve") == 2


def test_engine_runs_a_follower_with_the_settings_of_its_ranks(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "app.server.follower", server)
    ranks = ["--data-parallel-size", "2", "--data-parallel-start-rank", "1", "--data-parallel-address", "10.0.0.1"]
    assert main(["engine", *ranks, "--leader-url", "http://10.0.0.1:8000"]) == 7
    assert [s.ranks.data_parallel_start_rank for s in server.started_with] == [1]
    assert main(["engine", *ranks]) == 2
    assert capsys.readouterr().err.startswith("twowire: error: --leader-url: must be given")


@pytest.mark.parametrize("argv", [["version"], ["--version"]])
def test_the_version_is_printed(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    assert capsys.readouterr().out.startswith("twowire ")


def test_serve_help_is_printed_without_the_server(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--help"])
    assert caught.value.code == 0
    assert "--served-model-name" in capsys.readouterr().out
    assert server.started_with == []


def test_importing_the_command_imports_nothing_heavy() -> None:
    """The engine's processes are started by spawn, and import the command again."""
    script = "import sys, app.cli; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    heavy = {"pydantic", "quart", "hypercorn", "vllm", "torch", "asyncio", "argparse"}
    assert heavy.isdisjoint(loaded)


def test_python_m_app_is_the_same_command() -> None:
    command = [sys.executable, "-m", "app"]
    overview = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert "usage: twowire" in overview.stdout
    failed = subprocess.run(
        [*command, "serve", "--prot", "1"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert failed.returncode == 2
    assert failed.stderr == "twowire: error: --prot: unknown option (did you mean '--port'?)\n"
