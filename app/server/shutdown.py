"""Stops the server on a signal: first drains, then lets hypercorn close."""

from __future__ import annotations

import asyncio
import signal

from app.services import Services


class Stop:
    """hypercorn's shutdown trigger. It returns after the drain, not at the signal.

    The first signal refuses new requests and lets running ones finish; the second cancels them.
    """

    def __init__(self, services: Services, drain_timeout_s: float) -> None:
        self.failed: str | None = None
        """Why the engine could not start."""
        self._services = services
        self._drain_timeout_s = drain_timeout_s
        self._asked = asyncio.Event()
        self._now = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signal)

    def _signal(self) -> None:
        if self._asked.is_set():
            self._now.set()
        else:
            self.request()

    def request(self) -> None:
        """Stop after a drain."""
        self._asked.set()
        self._services.manager.begin_drain()

    def now(self) -> None:
        """Stop without a drain."""
        self._now.set()
        self._asked.set()

    async def wait(self) -> None:
        """Return when hypercorn may close its sockets."""
        await self._asked.wait()
        drain = asyncio.create_task(self._drain(self._drain_timeout_s))
        now = asyncio.create_task(self._now.wait())
        await asyncio.wait({drain, now}, return_when=asyncio.FIRST_COMPLETED)
        now.cancel()
        if not drain.done():
            drain.cancel()
            await asyncio.gather(drain, return_exceptions=True)
            await self._drain(0.0)
        else:
            drain.result()

    async def _drain(self, timeout_s: float) -> None:
        services = self._services
        await asyncio.gather(services.manager.stop(timeout_s), services.embedder.stop(timeout_s))
