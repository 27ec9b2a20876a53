"""The line that a terminal shows while the engine starts, and the log lines above it."""

from __future__ import annotations

import io
import os
import pty
import select
import threading
import tty
from collections.abc import Iterator
from typing import TextIO

import pytest
import structlog

from app.observability import screen as module
from app.observability.screen import ERASE, Screen
from engine.processes.output import Output


def test_a_log_line_stands_above_the_status(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(is_live=True)
    screen.show("loading")
    screen.write("a log line\n")
    screen.show("loading still")
    screen.show("")
    screen.write("another\n")
    assert capsys.readouterr().err == (f"{ERASE}loading{ERASE}a log line\nloading{ERASE}loading still{ERASE}another\n")


def test_the_cause_of_a_failed_start_stands_above_the_status(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(is_live=True)
    screen.show("loading")
    Output(show=screen.write).show(["the cause", "in two lines"])
    assert capsys.readouterr().err == f"{ERASE}loading{ERASE}the cause\nin two lines\nloading"


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


def has_room(terminal: int, wait_s: float) -> bool:
    room = select.poll()
    room.register(terminal, select.POLLOUT)
    return bool(room.poll(wait_s * 1000))


@pytest.fixture
def stalled() -> Iterator[tuple[TextIO, int, int]]:
    """A full terminal, the end where it can be read, and how many bytes it holds."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    os.set_blocking(slave, False)
    with open(slave, "w", buffering=1, encoding="utf-8") as terminal:
        size = 0
        while has_room(slave, 0.1):  # Linux makes some room a little later.
            size += os.write(slave, b"x" * 64)
        os.set_blocking(slave, True)
        yield terminal, master, size
        os.close(master)


def read(master: int, size: int) -> bytes:
    content = b""
    while len(content) < size:
        content += os.read(master, size - len(content))
    return content


def test_a_stalled_terminal_does_not_stop_the_drawing(
    stalled: tuple[TextIO, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal, master, size = stalled
    monkeypatch.setattr("sys.stderr", terminal)
    screen = Screen(is_live=True)

    def draw() -> None:
        for second in range(100):
            screen.show(f"loading ({second} s)")
        screen.show("")

    drawing = threading.Thread(target=draw, daemon=True)
    drawing.start()
    drawing.join(30)
    is_stuck = drawing.is_alive()
    assert read(master, size) == b"x" * size
    assert not is_stuck
    assert has_room(terminal.fileno(), 30)
    screen.show("loading on")
    screen.write("a log line\n")
    expected = f"{ERASE}loading on{ERASE}a log line\nloading on".encode()
    assert read(master, len(expected)) == expected


def test_a_status_that_a_stalled_terminal_kept_is_removed_by_the_next_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen(is_live=True)
    screen.show("loading")
    monkeypatch.setattr(module, "_has_room", lambda: False)
    screen.show("")
    screen.write("a log line\n")
    assert capsys.readouterr().err == f"{ERASE}loading{ERASE}a log line\n"


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
