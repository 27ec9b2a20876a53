"""Takes what is written to standard output and error by others: the engine's processes, and libraries in C.

Does not know what is written. While an engine starts, its lines are held: most of them are warnings that nobody can act
on, and where the start fails, the cause is among them. At all other times they go to the screen (standard error).
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TextIO

HELD_LINES = 2000
"""How many lines are held, the last ones; a failing start writes some hundred."""
MAX_LINE_BYTES = 8192
READ_WAIT_S = 1.0
"""How long to wait until what was written has been read: whoever reads the screen may have stopped."""

_MARK = b"\0mark\n"
_END = b"\0end\n"
_AFTER_A_LINE = re.compile(rb"(?<=[\r\n])")
_ERROR = re.compile(r"\b(ERROR|CRITICAL|FATAL)\b")
_PROGRESS = re.compile(r"\d%\|")
"""A progress bar of tqdm's, such as that of a download."""


class Output:
    """The file descriptors 1 and 2 of this process, and so of those that it starts.

    This process's own Python code keeps writing to the screen: `sys.stdout` and `sys.stderr` are other descriptors as
    long as the output is `taken`.
    """

    def __init__(self, *, shows_all: bool = False) -> None:
        """`shows_all`: hold nothing back."""
        self._shows_all = shows_all
        self._is_taken = False
        self._holds = False
        self._lines: deque[str] = deque(maxlen=HELD_LINES)
        self._changed = threading.Condition()
        self._marks_seen = 0
        self._marks = 0
        self._pipe = -1
        self._screen = -1

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Take what others write, until the block ends."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        before = (os.dup(1), os.dup(2))
        self._screen = before[1]
        source, self._pipe = os.pipe()
        os.dup2(self._pipe, 1)
        os.dup2(self._pipe, 2)
        streams = (sys.stdout, sys.stderr)
        sys.stdout, sys.stderr = _text(before[0]), _text(before[1])
        reader = threading.Thread(target=self._read, args=(source,), name="output", daemon=True)
        reader.start()
        self._is_taken = True
        try:
            yield
        finally:
            self._is_taken = False
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            sys.stdout, sys.stderr = streams
            os.dup2(before[0], 1)
            os.dup2(before[1], 2)
            if self._write_last(_END):
                reader.join(READ_WAIT_S)
            os.close(self._pipe)
            for number in before:
                os.close(number)

    @property
    def is_taken(self) -> bool:
        return self._is_taken

    def hold(self) -> None:
        """Keep lines from now on, until `release`."""
        with self._changed:
            self._lines.clear()
            self._holds = True

    def release(self) -> list[str]:
        """End the hold; returns the lines that were held, or shown meanwhile, the last `HELD_LINES` of them."""
        self._wait_read()
        with self._changed:
            self._holds = False
            lines = list(self._lines)
            self._lines.clear()
        return lines

    def show_errors(self, lines: Sequence[str]) -> None:
        """Put those of the lines on the screen that say they are errors, which a start survived."""
        self.show([line for line in lines if _ERROR.search(line)])

    def show(self, lines: Sequence[str]) -> None:
        """Put lines on the screen that were held; not again where nothing is held back."""
        if lines and not self._shows_all:
            self._write("".join(f"{line}\n" for line in lines).encode())

    def _wait_read(self) -> None:
        """Return when all has been read that was written before: a line of our own has come through the pipe."""
        if not self._is_taken:
            return
        with self._changed:
            self._marks += 1
            wanted = self._marks
        # Not within the lock, which the reader needs to make room.
        if self._write_last(_MARK):
            with self._changed:
                self._changed.wait_for(lambda: self._marks_seen >= wanted, timeout=READ_WAIT_S)

    def _write_last(self, mark: bytes) -> bool:
        """Write `mark` behind all that others have written; False where that is not read, as when the screen hangs."""
        room = select.poll()
        room.register(self._pipe, select.POLLOUT)
        if not room.poll(READ_WAIT_S * 1000):
            return False
        os.write(self._pipe, mark)
        return True

    def _read(self, source: int) -> None:
        rest = b""
        with open(source, "rb", buffering=0) as pipe:
            while got := pipe.read(65536):
                *lines, rest = _AFTER_A_LINE.split(rest + got)
                for line in lines:
                    # A mark may stand behind a line that has no end.
                    self._take(line.removesuffix(_MARK).removesuffix(_END))
                    if line.endswith(_MARK):
                        self._note_mark()
                    elif line.endswith(_END):
                        return
                if len(rest) > MAX_LINE_BYTES:
                    self._take(rest)
                    rest = b""

    def _note_mark(self) -> None:
        with self._changed:
            self._marks_seen += 1
            self._changed.notify_all()

    def _take(self, line: bytes) -> None:
        if not line:
            return
        text = line[:MAX_LINE_BYTES].decode("utf-8", "replace").rstrip("\r\n")
        with self._changed:
            is_held = self._holds
            if is_held and text:
                self._lines.append(text)
        if not is_held or self._shows_all or (_PROGRESS.search(text) and os.isatty(self._screen)):
            self._write(line)

    def _write(self, content: bytes) -> None:
        with contextlib.suppress(OSError):  # Nobody reads it any more.
            while content:
                content = content[os.write(self._screen, content) :]


def _text(number: int) -> TextIO:
    return open(number, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
