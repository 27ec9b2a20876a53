"""A store that several servers share, and this server's own for when that one does not answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

import structlog

from app.stores.base import Draw, Drawn, Store
from app.stores.memory import MemoryStore
from app.stores.redis import Script, StoreUnavailable

T = TypeVar("T")

log = structlog.get_logger(__name__)

FIRST_RETRY_S, LAST_RETRY_S = 0.1, 2.0

CHECK_EVERY_S = 2.0
"""How often a store that answers is checked, so that the metric is true on an idle server, too."""


class Remote(Store, Protocol):
    """A store over the network. Its methods raise `StoreUnavailable`."""

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | float]) -> Any:
        """Run a script and return its reply."""

    async def check(self) -> None:
        """Raise `StoreUnavailable` unless it answers and takes writes."""


class SharedStore:
    """Implements `app.stores.base.Store`: no call fails, and none waits for a store that is known to be down.

    After a failed call, unless it was a script's, this server counts for itself until the store passes a check.
    """

    is_shared = True

    def __init__(self, remote: Remote, shown: str) -> None:
        """`shown`: the store's address, for the log."""
        self.is_up = True
        self.failures = 0
        """How many calls have failed."""
        self._remote = remote
        self._local = MemoryStore()
        self._shown = shown
        self._failed = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    def up(self) -> float:
        """1 while the store answers, else 0."""
        return float(self.is_up)

    def start(self) -> None:
        """Begin to check the store."""
        self._watching = asyncio.create_task(self._watch(), name="watch-store")

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        await self._try(lambda store: store.put(key, value, ttl_s=ttl_s))

    async def get(self, key: str) -> bytes | None:
        return await self._try(lambda store: store.get(key))

    async def delete(self, key: str) -> None:
        await self._try(lambda store: store.delete(key))

    async def claim(self, key: str, ttl_s: float) -> bool:
        # What was claimed here stays claimed here when the store goes away.
        if not await self._local.claim(key, ttl_s):
            return False
        try:
            return await self._ask(lambda remote: remote.claim(key, ttl_s))
        except StoreUnavailable:
            return True

    async def draw(self, draws: Sequence[Draw]) -> Drawn:
        return await self._try(lambda store: store.draw(draws))

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        with contextlib.suppress(StoreUnavailable):
            await self._remote.close()

    async def run(self, script: Script, arguments: Sequence[str | bytes | float]) -> Any:
        """Run a script on the store itself. Raises `StoreUnavailable`, at once if the store is known to be down.

        A script that fails may be at fault itself, so the store is then checked at once, and stays up if it answers.
        """
        self._require_up()
        try:
            return await self._remote.run(script, (), arguments)
        except StoreUnavailable as error:
            self.failures += 1
            log.warning("store_script_failed", store=self._shown, reason=str(error))
            self._failed.set()
            raise

    async def _try(self, call: Callable[[Store], Awaitable[T]]) -> T:
        try:
            return await self._ask(call)
        except StoreUnavailable:
            return await call(self._local)

    async def _ask(self, call: Callable[[Remote], Awaitable[T]]) -> T:
        self._require_up()
        try:
            return await call(self._remote)
        except StoreUnavailable as error:
            self._note_failure(error)
            raise

    def _require_up(self) -> None:
        if not self.is_up:
            raise StoreUnavailable("it did not answer lately")

    def _note_failure(self, error: StoreUnavailable) -> None:
        self.failures += 1
        if self.is_up:
            self.is_up = False
            log.error("store_down", store=self._shown, reason=str(error))
        self._failed.set()

    async def _watch(self) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            self._failed.clear()
            try:
                await self._remote.check()
            except StoreUnavailable as error:
                self._note_failure(error)
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, LAST_RETRY_S)
                continue
            retry_s = FIRST_RETRY_S
            if not self.is_up:
                self.is_up = True
                log.info("store_up", store=self._shown)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._failed.wait(), CHECK_EVERY_S)
