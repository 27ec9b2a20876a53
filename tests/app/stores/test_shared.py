"""The store of several servers when it goes away and comes back: nothing fails, and everybody counts for himself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from app.stores import shared
from app.stores.base import Draw, Drawn
from app.stores.memory import MemoryStore
from app.stores.redis import Script, StoreUnavailable
from app.stores.shared import SharedStore

SOON_S = 30


class Remote(MemoryStore):
    """A store over a network that can be cut."""

    is_shared = True

    def __init__(self) -> None:
        super().__init__()
        self.is_there = True
        self.asked = 0

    def _call(self) -> None:
        self.asked += 1
        if not self.is_there:
            raise StoreUnavailable("ConnectionError: nobody is there")

    async def put(self, key: str, value: bytes, *, ttl_s: float | None = None) -> None:
        self._call()
        await super().put(key, value, ttl_s=ttl_s)

    async def get(self, key: str) -> bytes | None:
        self._call()
        return await super().get(key)

    async def claim(self, key: str, ttl_s: float) -> bool:
        self._call()
        return await super().claim(key, ttl_s)

    async def draw(self, draws: Sequence[Draw]) -> Drawn:
        self._call()
        return await super().draw(draws)

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | float]) -> Any:
        self._call()

    async def check(self) -> None:
        self._call()


async def until_up(store: SharedStore) -> None:
    async with asyncio.timeout(SOON_S):
        while not store.is_up:  # noqa: ASYNC110  # the store has no event to wait for
            await asyncio.sleep(0.01)


async def test_while_it_is_away_no_call_fails_or_asks_it() -> None:
    remote = Remote()
    store = SharedStore(remote, "redis://there")
    assert (await store.draw([Draw("a", 60, amount=60)])).levels == (0,)
    remote.is_there = False
    assert (await store.draw([Draw("a", 60, amount=1)])).levels == (59,)
    asked = remote.asked
    assert (await store.draw([Draw("a", 60, amount=60, needed=60)])).is_granted is False
    await store.put("b", b"1")
    assert await store.get("b") == b"1"
    assert remote.asked == asked
    assert (store.is_up, store.up(), store.failures) == (False, 0.0, 1)


async def test_it_is_used_again_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "FIRST_RETRY_S", 0.01)
    remote = Remote()
    store = SharedStore(remote, "redis://there")
    store.start()
    await store.draw([Draw("a", 60, amount=60)])
    remote.is_there = False
    await store.draw([Draw("a", 60, amount=1)])
    assert not store.is_up
    remote.is_there = True
    await until_up(store)
    assert (await store.draw([Draw("a", 60)])).levels[0] < 50, "the bucket that others draw from, too"
    await store.close()


async def test_a_script_that_fails_leaves_it_up_if_it_answers() -> None:
    class Broken(Remote):
        async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[str | bytes | float]) -> Any:
            raise StoreUnavailable("ResponseError: WRONGTYPE")

    store = SharedStore(Broken(), "redis://there")
    with pytest.raises(StoreUnavailable):
        await store.run(Script(""), ())
    assert (store.is_up, store.failures) == (True, 1)


async def test_a_script_that_fails_has_the_store_checked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "CHECK_EVERY_S", 600)
    remote = Remote()
    store = SharedStore(remote, "redis://there")
    store.start()
    async with asyncio.timeout(SOON_S):
        while not remote.asked:  # noqa: ASYNC110  # the first check
            await asyncio.sleep(0.01)
        remote.is_there = False
        with pytest.raises(StoreUnavailable):
            await store.run(Script(""), ())
        while store.is_up:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.01)
    await store.close()


async def test_a_server_that_starts_while_it_is_away_says_so_unasked() -> None:
    remote = Remote()
    remote.is_there = False
    store = SharedStore(remote, "redis://there")
    store.start()
    async with asyncio.timeout(SOON_S):
        while store.is_up:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.01)
    await store.close()


async def test_a_claim_holds_on_the_server_that_made_it_when_the_store_goes_away() -> None:
    remote = Remote()
    one, other = SharedStore(remote, "redis://there"), SharedStore(remote, "redis://there")
    assert await one.claim("a", 60)
    assert not await other.claim("a", 60)
    remote.is_there = False
    assert not await one.claim("a", 60)
    assert await one.claim("b", 60)
    assert not await one.claim("b", 60)
