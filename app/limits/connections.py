"""The open channels: how many there may be, in all and for each key, and how to reach them when the server drains."""

from __future__ import annotations

from typing import Protocol

from app.config.channel import ChannelCapacity
from app.stores.counts import Counts, LocalCounts
from protocol.errors import Fault, TwowireError


class Drainable(Protocol):
    """A channel."""

    def drain(self) -> None:
        """Refuse new work, and end once the work in progress is done."""


CHANNELS = "channels"
"""The name under which all channels are counted."""


class Connections:
    """The open channels of one app."""

    def __init__(self, capacity: ChannelCapacity, counts: Counts | None = None) -> None:
        """`counts`: what several API servers count their channels in, so that the limits hold over all of them."""
        self._max_connections = capacity.max_connections
        self._max_per_key = capacity.max_connections_per_key
        self._channels: dict[Drainable, str | None] = {}
        self._counts = counts or LocalCounts()

    def __len__(self) -> int:
        return len(self._channels)

    def check_room(self, owner: str | None) -> None:
        """Raise `TwowireError` (503) unless `owner` may open one more connection."""
        if self._counts.of(CHANNELS) >= self._max_connections:
            limit, whose = self._max_connections, "are open, the most that this server holds"
        elif self._counts.of(_name(owner)) >= self._max_per_key:
            limit, whose = self._max_per_key, "are open with this key, the most that it may have"
        else:
            return
        raise TwowireError(Fault.TOO_MANY_CONNECTIONS, f"{limit} WebSocket connections {whose}.", retry_after_s=5)

    def add(self, channel: Drainable, owner: str | None) -> None:
        """Count `channel`."""
        self._channels[channel] = owner
        for name in (CHANNELS, _name(owner)):
            self._counts.add(name)

    def remove(self, channel: Drainable) -> None:
        """Stop counting `channel`; may be called twice."""
        if channel in self._channels:
            owner = self._channels.pop(channel)
            for name in (CHANNELS, _name(owner)):
                self._counts.remove(name)

    def drain(self) -> None:
        """Drain all channels: the server is about to stop."""
        for channel in list(self._channels):
            channel.drain()


def _name(owner: str | None) -> str:
    return f"channels of {owner}"
