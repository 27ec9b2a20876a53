"""The client's side of the server's load: the newest report, for whoever reads it."""

from __future__ import annotations

import asyncio
import json

from twowire_client.message import Json

EVENT_ID = "server-stats"
"""Of the subscription, so that an error about it is told from others."""


class Stats:
    """The reports of one channel. An older one that nobody has read gives way to the newest."""

    def __init__(self) -> None:
        self.frame: str | None = None
        """What subscribes; None while nobody reads."""
        self._newest: Json | None = None
        self._error: Exception | None = None
        self._news = asyncio.Event()

    def subscribe(self, interval_s: float) -> str:
        """The frame to send, now and on each new connection. Raises `RuntimeError` if somebody reads already."""
        if self.frame is not None:
            raise RuntimeError("the server's load is being read already")
        self._newest = self._error = None
        self._news.clear()
        self.frame = json.dumps({"type": "server.stats.subscribe", "event_id": EVENT_ID, "interval_s": interval_s})
        return self.frame

    def unsubscribe(self) -> str:
        """The frame to send when nobody reads any more."""
        self.frame = None
        return json.dumps({"type": "server.stats.unsubscribe"})

    def take(self, report: Json) -> None:
        """A report has come."""
        self._newest = report
        self._news.set()

    def fail(self, error: Exception) -> None:
        """The server refused, or the connection is lost for good."""
        self._error = error
        self._news.set()

    async def next(self) -> Json:
        """The next report, or the newest if several have come. Raises what `fail` was given."""
        while self._newest is None:
            if self._error is not None:
                raise self._error
            self._news.clear()
            await self._news.wait()
        report, self._newest = self._newest, None
        return report
