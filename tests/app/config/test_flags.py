"""The help of `twowire serve` and the tables of docs/configuration.md: all options, as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.config.command_line import ONLY_OF_FOLLOWERS
from app.config.load import load_settings, markdown_tables
from app.config.options import NO_FLAG, OPTIONS, flag_name, variable_name


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def help_text(capsys: pytest.CaptureFixture[str], *, is_follower: bool = False) -> str:
    variables = {"TWOWIRE_PROT": "wrong settings do not keep the help from being read"}
    with pytest.raises(SystemExit) as caught:
        load_settings(["--help"], variables, is_follower=is_follower)
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_help_shows_every_option_with_its_variable_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(help_text(capsys).split())
    for name, option in OPTIONS.items():
        if name in ONLY_OF_FOLLOWERS:
            continue
        assert re.search(rf"\b{variable_name(name)}\b", text), name
        assert (re.search(rf"(?<!\S){flag_name(name)}(?![\w-])", text) is None) == (name in NO_FLAG), name
        assert option.spec.help
        assert option.spec.help in text, name
    assert "(default: 8000, env: TWOWIRE_PORT)" in text
    assert "--no-enable-prefix-caching" in text


def test_help_is_grouped_in_a_fixed_order(capsys: pytest.CaptureFixture[str]) -> None:
    lines = help_text(capsys).splitlines()
    titles = [line[:-1] for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert titles == [
        *("Listening", "TLS", "Model and engine", "Adapters", "Ranks and machines", "Embeddings"),
        *("Limits", "Recordings", "Connections"),
        *("WebSocket and resuming", "Responses", "Several servers", "Logging", "Configuration file", "Help"),
        "Only in the environment or the file",
    ]


def test_a_follower_has_the_options_of_the_engine_only(capsys: pytest.CaptureFixture[str]) -> None:
    text = help_text(capsys, is_follower=True)
    assert text.startswith("usage: twowire engine ")
    assert all(flag in text for flag in ("--leader-url", "--data-parallel-start-rank", "--model MODEL", "--log-level"))
    assert not any(flag in text for flag in ("--port", "--api-keys", "--max-queued"))


def test_help_that_follows_wrong_flags_is_still_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load_settings(["--port", "70000", "--help"], {})
    assert "--port" in capsys.readouterr().out


def test_the_documentation_shows_the_options_as_they_are() -> None:
    text = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text("utf-8")
    shown = text.partition("<!-- options: begin -->\n")[2].partition("<!-- options: end -->")[0]
    assert shown == markdown_tables(), "paste what `python -m app.config.load` prints between the markers"
