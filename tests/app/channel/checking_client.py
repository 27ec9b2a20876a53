"""A client that checks every guarantee of the channel, and fails at the first frame that breaks one."""

from __future__ import annotations

from typing import Any

from app.config.channel import ChannelLimits, ResumeLimits
from tests.app.channel.channels import (
    CHUNK,
    CREATED,
    DONE,
    RESUMED,
    Peer,
)

NAMES = ("a", "b", "c")
LIMITS = ChannelLimits(max_running=2, max_waiting=1, max_messages_per_s=100_000)
RESUME_LIMITS = ResumeLimits(log_max_bytes=4096, logs_max_bytes=16384)
Action = tuple[Any, ...]


class Client:
    """Reads a channel's frames as a client would, and fails at the first that breaks a guarantee."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.known: list[tuple[str, str]] = []
        """(id, token) of each resumable stream."""
        self._read = 0
        self._asked: dict[str, tuple[str, bool]] = {}
        """Unanswered events, with their stream's name and whether it was free."""
        self._open: dict[str, tuple[str, int]] = {}
        """Running streams: their event and the number of their last chunk."""
        self._failed: set[str] = set()
        """Streams that have had an error, so that `done` must follow."""

    def ask(self, event: str, name: str) -> None:
        self.read()
        is_free = name not in self._open and all(asked != name for asked, _ in self._asked.values())
        self._asked[event] = (name, is_free)

    @property
    def is_settled(self) -> bool:
        self.read()
        return not self._asked and not self._open

    def read(self) -> None:
        """Read the frames that have come since the last call."""
        while self._read < len(self.peer.frames):
            frame = self.peer.frames[self._read]
            self._read += 1
            self._take(frame)

    def _take(self, frame: dict[str, Any]) -> None:
        kind, name = frame["type"], frame.get("stream_id", "")
        if kind in (CREATED, RESUMED):
            asked, _ = self._asked.pop(frame["event_id"])
            assert asked == name
            assert name not in self._open
            self._open[name] = (frame["event_id"], frame.get("first_seq", 1) - 1)
            if "resume_token" in frame:
                self.known.append((frame["id"], frame["resume_token"]))
        elif kind == CHUNK:
            assert name not in self._failed, "a chunk after the error"
            event, seq = self._open[name]
            assert frame["seq"] == seq + 1, "not consecutive"
            self._open[name] = (event, seq + 1)
        elif kind == DONE:
            self._end(name, frame)
        elif kind == "error":
            self._fail(name, frame)
        else:
            assert kind in ("connection.ready", "ping", "pong")

    def _end(self, name: str, frame: dict[str, Any]) -> None:
        assert frame["status"] in ("completed", "cancelled", "failed")
        assert (frame["status"] == "failed") == (name in self._failed)
        self._failed.discard(name)
        if name in self._open:
            assert self._open.pop(name)[1] == frame["seq"]
            return
        # Cancelled before it began: the oldest of that name.
        event = next(event for event, (asked, _) in self._asked.items() if asked == name)
        assert (frame["status"], frame["seq"]) == ("cancelled", 0)
        del self._asked[event]

    def _fail(self, name: str, frame: dict[str, Any]) -> None:
        event = frame.get("event_id")
        assert sorted(frame["error"]) == ["code", "message", "param", "type"]
        if event in self._asked:
            _, was_free = self._asked.pop(event)
            if not name:
                assert not was_free, f"refused although the name was free: {frame}"
            else:
                assert name not in self._open, "an error of something else names an open stream"
        elif name:
            assert event == self._open[name][0], "an error names a stream that has not ended by it"
            if frame["error"]["code"] == "taken_over":
                del self._open[name]
            else:
                self._failed.add(name)
