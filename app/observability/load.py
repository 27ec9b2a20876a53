"""The server's load, measured at most once a second for all who watch it, and not at all while nobody does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from engine.manager import EngineManager
from protocol.errors import Fault, TwowireError

TICK_S = 1.0
"""How often the load is measured, and the shortest time between two reports to one watcher."""

MAX_WATCHES = 256
"""How many may watch at a time: all are served in one turn of the event loop."""

MAX_PAUSE_S = 5.0
"""A pace is not measured over a longer time than this."""


@dataclass(frozen=True, slots=True)
class Load:
    """`figures` are of the whole server, by their names on the wire. `places`: see `EngineManager.places`."""

    figures: Mapping[str, float]
    places: Mapping[str, int]


class Watch:
    """Somebody who watches. Call `stop` at the end."""

    def __init__(self, push: Callable[[Load], None], interval_s: float, stop: Callable[[Watch], None]) -> None:
        self.push = push
        self.interval_s = interval_s
        self.pushed_at = float("-inf")
        self._stop = stop

    def stop(self) -> None:
        """Watch no longer; may be called twice."""
        self._stop(self)


class LoadMonitor:
    """Measures the load of this API server while somebody watches."""

    def __init__(self, manager: EngineManager, clock: Callable[[], float] = time.monotonic) -> None:
        self._manager = manager
        self._clock = clock
        self._watches: dict[Watch, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._load = Load({}, {})
        self._measured_at = float("-inf")
        self._tokens = 0

    def __len__(self) -> int:
        return len(self._watches)

    def watch(self, push: Callable[[Load], None], interval_s: float) -> Watch:
        """Call `push` at once, then every `interval_s` seconds, which are at least `TICK_S`. It must not raise.

        Raises `TwowireError` (429) if too many watch.
        """
        if len(self._watches) >= MAX_WATCHES:
            message = f"{MAX_WATCHES} connections watch the server's load; no more may."
            raise TwowireError(Fault.TOO_MANY_STREAMS, message, retry_after_s=5)
        watch = Watch(push, interval_s, self._stop)
        self._watches[watch] = None
        self._push(watch, self._clock())
        if self._timer is None:
            self._arm()
        return watch

    def _stop(self, watch: Watch) -> None:
        self._watches.pop(watch, None)
        if not self._watches and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._arm()
        now = self._clock()
        for watch in list(self._watches):
            # A timer may be early by a moment.
            if now - watch.pushed_at >= watch.interval_s - TICK_S / 2:
                self._push(watch, now)

    def _push(self, watch: Watch, now: float) -> None:
        watch.pushed_at = now
        watch.push(self._measured(now))

    def _measured(self, now: float) -> Load:
        since_s = now - self._measured_at
        if since_s < TICK_S / 2:
            return self._load
        manager = self._manager
        tokens = manager.tokens_made
        figures: dict[str, float] = {"running": manager.sequences - manager.waiting, "waiting": manager.waiting}
        if since_s <= MAX_PAUSE_S:
            figures["tokens_per_s"] = round(max(0, tokens - self._tokens) / since_s, 1)
        if (usage := manager.kv_cache_usage) is not None:
            figures["kv_cache_usage"] = round(usage, 4)
        self._measured_at, self._tokens = now, tokens
        self._load = Load(figures, manager.places)
        return self._load
