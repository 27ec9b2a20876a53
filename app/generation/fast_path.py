"""The short way of a token through the app: escaped, put between the bytes that its stream's chunks share, and written.

Does not know the engine, nor how a socket is written to: `app.hypercorn.fast_write` does. The path that a token
takes, each step a plain call within the turn of the event loop in which vLLM's output was read:

    engine.vllm.fast_path   the text, out of vLLM's detokenizer
    engine.generation       counted: `Generation.relay_to`
    app.generation.stream   its number: `LiveReply`
    here                    its bytes, for the wire
    app.hypercorn           its frame, to the socket

Any of them may say no; then the step comes back as an ordinary one to the task that reads the generation. It waits all
the while, and it also sends the first step and the last, and every one that is not plain.
"""

from __future__ import annotations

from typing import Protocol

from app.hypercorn import FastWriter
from protocol.channel import frames


class Sender(Protocol):
    """Sends the chunks of one reply on its wire, at once or not at all."""

    def send(self, seq: int, text: bytes) -> bool:
        """Send the chunk number `seq`, whose text is escaped already. False: it was not sent."""


class EventSender:
    """Server-sent events without ids."""

    def __init__(self, writer: FastWriter, around_text: tuple[bytes, bytes]) -> None:
        head, tail = around_text
        self._head, self._tail = b"data: " + head, tail + b"\n\n"
        self._write = writer.write

    def send(self, seq: int, text: bytes) -> bool:
        return self._write(self._head + text + self._tail)


class FrameSender:
    """Chunk frames of the channel; not while another frame waits for the socket."""

    def __init__(self, channel: ChannelWriter, stream_id: str, around_text: tuple[bytes, bytes]) -> None:
        head, tail = around_text
        self._head, self._after_seq, self._tail = frames.chunk_head(stream_id), b',"data":' + head, tail + b"}"
        self._write = channel.write

    def send(self, seq: int, text: bytes) -> bool:
        return self._write(b"%b%d%b%b%b" % (self._head, seq, self._after_seq, text, self._tail))


class ChannelWriter(Protocol):
    """What a channel's outbox offers."""

    def write(self, frame: bytes) -> bool:
        """Send `frame` at once; False: it cannot be, and was not."""
