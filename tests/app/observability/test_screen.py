"""The line that a terminal shows while the engine starts, and the log lines above it."""

from __future__ import annotations

import io

import pytest
import structlog

from app.observability import screen as module
from app.observability.screen import ERASE, Screen


def test_a_log_line_stands_above_the_status(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(is_live=True)
    screen.show("loading")
    screen.write("a log line\n")
    screen.show("loading still")
    screen.show("")
    screen.write("another\n")
    assert capsys.readouterr().err == (f"{ERASE}loading{ERASE}a log line\nloading{ERASE}loading still{ERASE}another\n")


def test_a_status_never_wraps(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_columns", lambda: 10)
    Screen(is_live=True).show("0123456789ABC")
    assert capsys.readouterr().err == f"{ERASE}012345678"


def test_without_a_terminal_there_is_no_status(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.show("loading")
    screen.write("a log line\n")
    assert capsys.readouterr().err == "a log line\n"


def test_a_closed_standard_error_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr("sys.stderr", stream)
    screen = Screen(is_live=True)
    screen.show("loading")
    assert screen.write("a log line\n") == 11


@pytest.mark.parametrize(
    ("event", "is_left_out"),
    [
        ({"event": "engine_starting", "stage": "importing vLLM"}, True),
        ({"event": "engine_state", "state": "ready"}, True),
        ({"event": "engine_state", "state": "restarting"}, False),
        ({"event": "request", "state": "ready"}, False),
    ],
)
def test_what_it_shows_is_not_logged_as_well(event: dict[str, str], is_left_out: bool) -> None:
    screen = Screen(is_live=True)
    assert screen.leave_out(None, "info", event) == event
    screen.shows_start = True
    if is_left_out:
        with pytest.raises(structlog.DropEvent):
            screen.leave_out(None, "info", event)
    else:
        assert screen.leave_out(None, "info", event) == event
