"""What processes and libraries write past Python is held while an engine starts, and shown at all other times.

Each in a process of its own, whose file descriptors 1 and 2 may be taken.
"""

from __future__ import annotations

import os
import subprocess
import sys

BEGIN = """
import logging, os, subprocess, sys, threading
from engine.processes.output import Output
child = lambda text, fd=2: subprocess.run([sys.executable, "-c", f"import os; os.write({fd}, {text!r}.encode())"])
"""


def screen(script: str, *, code: int = 0) -> list[str]:
    """The lines that are on the screen in the end; standard output is marked."""
    # Without this variable, Python's standard output has a buffer, as in most shells.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + script], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.returncode == code, done.stderr
    return done.stderr.splitlines() + [f"out: {line}" for line in done.stdout.splitlines()]


def test_a_starting_engines_lines_are_held_and_ours_are_not() -> None:
    lines = screen("""
output = Output()
with output.taken():
    output.hold()
    child("a warning\\n")
    child("another\\n", fd=1)
    os.write(2, b"of a library in C")
    print("ready", flush=True)
    print("ours", file=sys.stderr)
    held = output.release()
    child("afterwards\\n")
print(held)
""")
    assert lines == ["ours", "afterwards", "out: ready", "out: ['a warning', 'another', 'of a library in C']"]


def test_nothing_is_held_at_the_level_that_shows_all() -> None:
    lines = screen("""
output = Output(shows_all=True)
with output.taken():
    output.hold()
    child("a warning\\n")
    output.show(output.release())
""")
    assert lines == ["a warning"]


def test_held_lines_are_shown_by_the_one_who_draws_on_the_screen() -> None:
    lines = screen("""
shown = []
output = Output(show=shown.append)
with output.taken():
    output.hold()
    child("a warning\\nthe cause\\n")
    output.show(output.release())
print(shown)
""")
    assert lines == ["out: ['a warning\\nthe cause\\n']"]


def test_what_libraries_log_in_this_process_is_held_too() -> None:
    lines = screen("""
import warnings
handler = logging.StreamHandler()
handler.flush = sys.stderr.flush  # As transformers does.
logging.getLogger("library").addHandler(handler)
output = Output()
with output.taken():
    output.take_logs("library", "another")
    output.hold()
    logging.getLogger("another").warning("another")
    warnings.warn("of Python", stacklevel=1)
    # At last: the other handlers flush the same stream.
    logging.getLogger("library.part").warning("a warning")
    held = output.release()
    output.take_logs("library", "another")
    logging.getLogger("another").error("afterwards, once")
print(*held, sep="|")
""")
    assert lines[0] == "afterwards, once"
    assert lines[1].startswith("out: another|<string>:")
    assert "UserWarning: of Python" in lines[1]
    assert lines[1].endswith("|a warning")
    assert len(lines) == 2


def test_a_line_that_is_read_is_neither_held_nor_shown() -> None:
    lines = screen("""
output, read = Output(), []
with output.taken():
    output.hold(lambda line: "%" in line and read.append(line) is None)
    child("a warning\\n1% of it\\r\\n2% of it\\n")
    held = output.release()
    child("3% shown\\n")
print(held, read)
""")
    assert lines == ["3% shown", "out: ['a warning'] ['1% of it', '2% of it']"]


def test_what_says_that_it_is_an_error_is_shown_though_the_start_went_well() -> None:
    lines = screen("""
output = Output()
with output.taken():
    output.hold()
    child("(Worker pid=1) WARNING 1 [a.py:1] old\\n(Worker pid=1) ERROR 1 [a.py:1] broken\\n")
    output.show_errors(output.release())
""")
    assert lines == ["(Worker pid=1) ERROR 1 [a.py:1] broken"]


def test_the_end_loses_nothing_and_gives_the_descriptors_back() -> None:
    lines = screen(
        """
output = Output()
with output.taken():
    for number in range(3000):
        os.write(1, f"line {number}\\n".encode())
    os.write(2, b"without an end")
    sys.stderr.write("ours\\n")
os.write(1, b"to standard output again\\n")
sys.exit(3)
""",
        code=3,
    )
    assert [line for line in lines if line.startswith("line ")] == [f"line {number}" for number in range(3000)]
    assert any(line.endswith("without an end") for line in lines)
    assert lines[-1] == "out: to standard output again"


def test_an_exception_in_the_block_is_seen() -> None:
    lines = screen(
        """
with Output().taken():
    raise RuntimeError("seen")
""",
        code=1,
    )
    assert lines[-1] == "RuntimeError: seen"


def test_a_screen_that_nobody_reads_blocks_no_process() -> None:
    script = (
        BEGIN
        + """
output = Output()
input()
with output.taken():
    for _ in range(4):  # More than a pipe holds.
        child("x" * 50_000 + "\\n")
    output.hold()
    output.release()
os.write(1, b"alive\\n")
"""
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stderr.close()
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "alive\n"


def test_of_very_many_lines_the_last_are_kept() -> None:
    lines = screen("""
output = Output()
with output.taken():
    output.hold()
    child("".join(f"{number}\\n" for number in range(5000)))
    held = output.release()
print(len(held), held[-1])
""")
    assert lines == ["out: 2000 4999"]


def test_a_screen_that_nobody_reads_does_not_stop_the_server() -> None:
    lines = screen("""
import select
unread, stuck = os.pipe()
os.dup2(stuck, 2)
output = Output()
with output.taken():
    writer = subprocess.Popen([sys.executable, "-c", "import os\\nwhile True: os.write(1, b'a line' + bytes([10]))"])
    room, full = select.poll(), 0
    room.register(1, select.POLLOUT)
    room.register(stuck, select.POLLOUT)
    while full < 20:
        full = 0 if room.poll(0) else full + 1
        threading.Event().wait(0.01)
    output.hold()
    print(output.release(), flush=True)
    writer.kill()
    writer.wait()
print("ended", flush=True)
""")
    assert lines == ["out: []", "out: ended"]
