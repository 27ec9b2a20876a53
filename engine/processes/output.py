"""Captures what the engine's processes and C libraries write to standard output and error.

While an engine starts, the lines are held back: most are warnings that nobody can act on, but if the start fails, the
cause is among them. At all other times they go to the screen (standard error). Progress bars are read, not held.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

HELD_LINES = 2000
"""The last lines are held, so many of them; a failing start writes some hundred."""
MAX_LINE_BYTES = 8192
READ_WAIT_S = 1.0
"""How long to wait until all output has been read: the reader of the screen may have stopped."""

_MARK = b"\0mark\n"
_END = b"\0end\n"
_AFTER_A_LINE = re.compile(rb"(?<=[\r\n])")
_ERROR = re.compile(r"\b(ERROR|CRITICAL|FATAL)\b")


class Output:
    """The file descriptors 1 and 2 of this process, which its children inherit.

    This process's own Python code keeps writing to the screen: while the output is `taken`, `sys.stdout` and
    `sys.stderr` use other descriptors.
    """

    def __init__(self, *, shows_all: bool = False, show: Callable[[str], object] | None = None) -> None:
        """With `shows_all`, nothing is held back. `show` writes held lines to the screen, in place of this class."""
        self._shows_all = shows_all
        self._show = show or (lambda text: self._write(text.encode()))
        self._is_taken = False
        self._holds = False
        self._reads: Callable[[str], bool] | None = None
        self._lines: deque[str] = deque(maxlen=HELD_LINES)
        self._changed = threading.Condition()
        self._marks_seen = 0
        self._marks = 0
        self._pipe = -1
        self._screen = -1

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Capture the output until the block ends."""
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

    def take_logs(self, *libraries: str) -> None:
        """Capture also Python's warnings, and what the loggers of `libraries` write in this process.

        A library that makes a handler when it is imported must have been imported.
        """
        logging.captureWarnings(True)
        for name in ("py.warnings", *libraries):
            logger = logging.getLogger(name)
            if not logger.handlers:
                logger.addHandler(logging.StreamHandler())
            for handler in logger.handlers:
                if type(handler) is logging.StreamHandler:
                    # Unlike `sys.stdout`, this is the descriptor 1.
                    handler.setStream(sys.__stdout__)
                    # transformers replaces `flush` by that of the stream it began with. Without the class's own, lines
                    # stay in the new stream's buffer, and come out when the process ends.
                    vars(handler).pop("flush", None)

    def hold(self, reads: Callable[[str], bool] | None = None) -> None:
        """Hold lines from now on, until `release`, except those for which `reads` is true. It is called in a thread."""
        with self._changed:
            self._lines.clear()
            self._holds, self._reads = True, reads

    def release(self) -> list[str]:
        """Stop holding; returns the last `HELD_LINES` lines since `hold`."""
        self._wait_read()
        with self._changed:
            self._holds, self._reads = False, None
            lines = list(self._lines)
            self._lines.clear()
        return lines

    def show_errors(self, lines: Sequence[str]) -> None:
        """Show those lines that are errors, although the start succeeded."""
        self.show([line for line in lines if _ERROR.search(line)])

    def show(self, lines: Sequence[str]) -> None:
        """Show lines that were held; with `shows_all` they have been shown."""
        if lines and not self._shows_all:
            self._show("".join(f"{line}\n" for line in lines))

    def _wait_read(self) -> None:
        """Return once all earlier output has been read: write a line of our own and wait for it."""
        if not self._is_taken:
            return
        with self._changed:
            self._marks += 1
            wanted = self._marks
        # Without the lock, which the reader needs to make room.
        if self._write_last(_MARK):
            with self._changed:
                self._changed.wait_for(lambda: self._marks_seen >= wanted, timeout=READ_WAIT_S)

    def _write_last(self, mark: bytes) -> bool:
        """Write `mark` after all earlier output; False if that is not read, as when the screen hangs."""
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
                    # A mark may follow a line without an end.
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
            if is_held and text and not (self._reads is not None and self._reads(text)):
                self._lines.append(text)
        if not is_held or self._shows_all:
            self._write(line)

    def _write(self, content: bytes) -> None:
        with contextlib.suppress(OSError):  # Nobody reads the screen any more.
            while content:
                content = content[os.write(self._screen, content) :]


def _text(number: int) -> TextIO:
    return open(number, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
