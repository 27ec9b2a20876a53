"""Encodes and decodes the frames of a WebSocket, for one wire protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from protocol.channel import server_frames
from protocol.channel.client_frames import parse_frame
from protocol.encoder import Event
from protocol.errors import TwowireError
from protocol.output import Status, Usage


class FrameCodec(Protocol):
    """One wire protocol's frames. A method that may return None does so unless the protocol has such a frame."""

    def decode(self, message: str | bytes | None) -> Any:
        """What a text frame asks for; `message` is bytes or None for any other frame. Raises `FrameRefused`.

        A `ClientFrame`, or one that the protocol's own session knows.
        """

    def ready(self, connection_id: str, limits: Mapping[str, Any]) -> bytes | None:
        """The first frame of a connection."""
        return None

    def created(
        self,
        stream_id: str,
        event_id: str | None,
        answer_id: str,
        resume_token: str | None,
        rate_limits: Sequence[Mapping[str, Any]],
        follow_token: str | None,
    ) -> bytes | None:
        """A create was admitted."""
        return None

    def resumed(self, stream_id: str, event_id: str | None, first_seq: int, last_seq: int) -> bytes | None:
        """A resume or follow was admitted: the chunks from `first_seq` on come; `last_seq` is the last one there is."""
        return None

    def chunk_head(self, stream_id: str) -> bytes:
        """The beginning that all chunk frames of a stream share; made once per stream."""

    def chunk(self, head: bytes, seq: int, data: Event) -> bytes:
        """Chunk number `seq` of a stream."""

    def text_frame(self, stream_id: str, text_template: tuple[bytes, bytes]) -> tuple[bytes, bytes | None, bytes]:
        """A chunk frame for the fast path: the bytes before its number, between that and the text, and after the text.

        The second is None where frames have no number.
        `text_template` is what the chunk has before and after its escaped text: see `StreamEncoder.text_template`.
        """

    def done(self, stream_id: str, seq: int, status: Status, usage: Usage) -> bytes | None:
        """The end of a stream whose last chunk was number `seq`, 0 if there was none."""
        return None

    def prefilled(self, event_id: str | None, status: Status, usage: Usage) -> bytes | None:
        """The end of a prefill."""
        return None

    def failed(self, fault: TwowireError, events: Sequence[Event], stream_id: str, event_id: str | None) -> list[bytes]:
        """A stream has failed midway; `done` follows. `events` are those that its API's encoder has for the error."""

    def error(
        self,
        fault: TwowireError,
        stream_id: str | None = None,
        event_id: str | None = None,
        body: bytes | None = None,
    ) -> bytes:
        """An error: of a stream, of the frame `event_id`, or of the connection.

        `body` is the error in the form of the stream's API; None where there is no stream.
        """

    def stats(self, figures: Mapping[str, float], streams: Sequence[Mapping[str, Any]]) -> bytes | None:
        """The server's load, and the connection's streams that wait."""
        return None

    def ping(self, t: float) -> bytes | None:
        """The server's heartbeat; `t` is its clock in seconds."""
        return None

    def pong(self, t: str | float | None) -> bytes | None:
        """The answer to a client's ping."""
        return None


class ChannelCodec:
    """The subprotocol `twowire.v1`, which `docs/websocket.md` specifies."""

    decode = staticmethod(parse_frame)
    ready = staticmethod(server_frames.ready)
    created = staticmethod(server_frames.created)
    resumed = staticmethod(server_frames.resumed)
    chunk_head = staticmethod(server_frames.chunk_head)
    chunk = staticmethod(server_frames.chunk)
    text_frame = staticmethod(server_frames.text_frame)
    done = staticmethod(server_frames.done)
    prefilled = staticmethod(server_frames.prefilled)
    failed = staticmethod(server_frames.failed)
    error = staticmethod(server_frames.error)
    stats = staticmethod(server_frames.stats)
    ping = staticmethod(server_frames.ping)
    pong = staticmethod(server_frames.pong)
