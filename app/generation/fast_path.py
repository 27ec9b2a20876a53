"""A token's fast path through the app: escaped, put between the bytes that its stream's chunks share, and written.

Each step is a plain call within the turn of the event loop in which vLLM's output was read:

    engine.vllm.outputs     the text, out of vLLM's detokenizer
    engine.generation       counted: `Generation.fast_path_to`
    app.generation.stream   numbered: `LiveStream`
    this module             put into the wire's bytes
    app.hypercorn           framed and written to the socket

Any of them may refuse. The step then takes the ordinary path: it goes to the task that reads the generation, which
waits all the while. The first step, the last, and every one that is not plain text always go that way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from app.hypercorn import FastWriter
from protocol import sse


class Sender(Protocol):
    """Sends the text of one stream on its wire, at once or not at all."""

    template: tuple[bytes, bytes] | None
    """The event of a text, before and after the escaped text; None until the first `use`."""

    def use(self, template: tuple[bytes, bytes]) -> None:
        """Put the texts from now on into `template`."""

    def send(self, seq: int, text: bytes) -> bool:
        """Send chunk `seq`, whose text is already escaped. False: it was not sent."""


class EventSender:
    """Server-sent events without ids."""

    def __init__(self, writer: FastWriter) -> None:
        self.template: tuple[bytes, bytes] | None = None
        self._head = self._tail = b""
        self._write = writer.write

    def use(self, template: tuple[bytes, bytes]) -> None:
        self.template = template
        head, tail = template
        self._head, self._tail = sse.before(head) + head, tail + b"\n\n"

    def send(self, seq: int, text: bytes) -> bool:
        return self._write(self._head + text + self._tail)


class FrameSender:
    """Chunk frames of a WebSocket; not while another frame waits for the socket."""

    def __init__(
        self,
        write: Callable[[bytes], bool],
        text_frame: Callable[[tuple[bytes, bytes]], tuple[bytes, bytes | None, bytes]],
    ) -> None:
        """`write` sends a frame at once or returns False. `text_frame` puts a template into the frame of a stream's
        chunk, and returns the bytes before its number, between that and the text (None: it has no number), and after
        the text.
        """
        self.template: tuple[bytes, bytes] | None = None
        self._head = self._tail = b""
        self._after_seq: bytes | None = None
        self._write = write
        self._text_frame = text_frame

    def use(self, template: tuple[bytes, bytes]) -> None:
        self.template = template
        self._head, self._after_seq, self._tail = self._text_frame(template)

    def send(self, seq: int, text: bytes) -> bool:
        if self._after_seq is None:
            return self._write(self._head + text + self._tail)
        return self._write(b"%b%d%b%b%b" % (self._head, seq, self._after_seq, text, self._tail))
