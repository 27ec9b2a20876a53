"""The open channels: how many there may be, in all and for each key, and how to reach them when the server drains."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from app.config.channel import ChannelCapacity
from protocol.errors import Fault, TwowireError


class Drainable(Protocol):
    """A channel."""

    def drain(self) -> None:
        """Refuse new work, and end once the work in progress is done."""


class Connections:
    """The open channels of one app."""

    def __init__(self, capacity: ChannelCapacity) -> None:
        self._max_connections = capacity.max_connections
        self._max_per_key = capacity.max_connections_per_key
        self._channels: dict[Drainable, str | None] = {}
        self._by_owner: Counter[str | None] = Counter()

    def __len__(self) -> int:
        return len(self._channels)

    def check_room(self, owner: str | None) -> None:
        """Raise `TwowireError` (503) unless `owner` may open one more connection."""
        if len(self._channels) >= self._max_connections:
            limit, whose = self._max_connections, "are open, the most that this server holds"
        elif self._by_owner[owner] >= self._max_per_key:
            limit, whose = self._max_per_key, "are open with this key, the most that it may have"
        else:
            return
        raise TwowireError(Fault.TOO_MANY_CONNECTIONS, f"{limit} WebSocket connections {whose}.", retry_after_s=5)

    def add(self, channel: Drainable, owner: str | None) -> None:
        """Count `channel`."""
        self._channels[channel] = owner
        self._by_owner[owner] += 1

    def remove(self, channel: Drainable) -> None:
        """Stop counting `channel`; may be called twice."""
        if channel in self._channels:
            owner = self._channels.pop(channel)
            self._by_owner[owner] -= 1
            if not self._by_owner[owner]:
                del self._by_owner[owner]

    def drain(self) -> None:
        """Drain all channels: the server is about to stop."""
        for channel in list(self._channels):
            channel.drain()
