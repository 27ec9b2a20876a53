"""Sends the server's load to one connection, with the places of its own streams in the queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from app.channel.backend import Backend
from app.channel.stream import ChannelStream
from app.observability.load import Load, Watch
from protocol.channel.client_frames import FrameRefused, StatsFrame, StatsSubscribeFrame
from protocol.channel.codec import FrameCodec
from protocol.errors import TwowireError


class LoadFeed:
    """A report that the socket has not taken yet is not followed by another: reports are skipped, never queued."""

    def __init__(
        self,
        backend: Backend,
        codec: FrameCodec,
        streams: Mapping[str, ChannelStream],
        answer: Callable[[bytes | None, Callable[[], None]], None],
    ) -> None:
        self._backend = backend
        self._codec = codec
        self._streams = streams
        self._answer = answer
        self._watch: Watch | None = None
        self._is_waiting = False

    def take(self, frame: StatsFrame) -> None:
        """Begin, or end. To subscribe again changes the interval. Raises `FrameRefused`."""
        if not isinstance(frame, StatsSubscribeFrame):
            self.stop()
        elif self._watch is not None:
            self._watch.interval_s = frame.interval_s
        else:
            try:
                self._watch = self._backend.watch_load(self._push, frame.interval_s)
            except TwowireError as refused:
                raise FrameRefused(refused, None, frame.event_id) from None

    def stop(self) -> None:
        """Send no more."""
        if self._watch is not None:
            self._watch.stop()
            self._watch = None

    def _push(self, load: Load) -> None:
        if self._is_waiting:
            return
        self._is_waiting = True
        self._answer(self._codec.stats(load.figures, self._waiting(load.places)), self._sent)

    def _sent(self) -> None:
        self._is_waiting = False

    def _waiting(self, places: Mapping[str, int]) -> list[dict[str, Any]]:
        """The streams that wait: for the engine, or for others of this connection."""
        found: list[dict[str, Any]] = []
        ahead_here = 0
        for stream in self._streams.values():
            response = stream.response
            if response is not None:
                ahead = places.get(response.generation.id)
                if ahead is not None:
                    found.append({"stream_id": stream.id, "id": response.id, "waits_for": "engine", "ahead": ahead})
            elif not stream.has_turn:
                found.append({"stream_id": stream.id, "waits_for": "connection", "ahead": ahead_here})
                ahead_here += 1
        return found
