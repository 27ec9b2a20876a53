"""Responses in the shared store, where it differs from the others: several servers, and when it goes away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.stores.base import StoreOptions
from app.stores.redis import RedisStore
from app.stores.responses.base import Entry, Item, ResponsesOptions
from app.stores.responses.shared import SharedResponses
from app.stores.shared import SharedStore
from protocol.errors import Fault, TwowireError
from tests.live.servers.programs.redis_server import MISSING, PROGRAM, RedisServer, redis_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    if PROGRAM is None:
        pytest.skip(MISSING)
    with redis_server(tmp_path) as running:
        yield running


def remote_of(server: RedisServer) -> RedisStore:
    return RedisStore(StoreOptions(SecretStr(server.url), store_timeout_s=30.0))


def opened(server: RedisServer) -> SharedStore:
    return SharedStore(remote_of(server), server.url)


def entry(name: str, parent: str | None = None, item: str | None = None) -> Entry:
    return Entry(name, "key", b'{"a":"\xc3\xa9"}', (Item(item or f"in_{name}", b"{}"),), (), parent)


async def test_two_servers_share_responses_and_their_bounds(server: RedisServer) -> None:
    limits = ResponsesOptions(max_per_key=2)
    stores = [opened(server) for _ in range(2)]
    here, there = (SharedResponses(store, limits) for store in stores)
    await here.put(entry("a"))
    await there.put(entry("b", "a"))
    assert await here.chain("key", "b") == [entry("a"), entry("b", "a")]
    await there.put(entry("c"))
    assert await here.get("key", "a") is None
    assert await here.get("key", "b") == entry("b", "a")
    assert here.totals == (2, entry("b").size + entry("c").size)
    for store in stores:
        await store.close()


async def test_an_items_id_may_hold_anything(server: RedisServer) -> None:
    store = opened(server)
    responses = SharedResponses(store, ResponsesOptions())
    odd = "a\nb: %41 é"
    await responses.put(entry("a", item=odd))
    assert await responses.get("key", "a") == entry("a", item=odd)
    assert await responses.find_item("key", odd) == b"{}"
    assert await responses.find_item("key", "a") is None
    assert await responses.remove_item("key", "a", odd)
    assert await responses.find_item("key", odd) is None
    assert responses.totals == (1, Entry("a", "key", entry("a").body).size)
    await store.close()


async def test_nothing_is_left_of_what_was_deleted(server: RedisServer) -> None:
    remote = remote_of(server)
    store = SharedStore(remote, server.url)
    responses = SharedResponses(store, ResponsesOptions())
    await responses.put(entry("a"))
    await responses.append("key", "a", [Item("more", b"{}")])
    await responses.delete("key", "a")
    assert set(await remote.client.keys()) == {b"twowire:responses:bytes", b"twowire:responses:last"}
    assert await remote.client.get("twowire:responses:bytes") == b"0"
    await store.close()


async def test_an_id_that_names_another_key_deletes_nothing(server: RedisServer) -> None:
    store = opened(server)
    responses = SharedResponses(store, ResponsesOptions())
    await responses.put(entry("a"))
    for name in ("a:items", "a:output"):
        assert not await responses.delete("key", name)
        assert await responses.get("key", name) is None
    assert await responses.get("key", "a") == entry("a")
    assert store.failures == 0
    await store.close()


async def test_what_was_kept_here_goes_with_what_the_store_has(server: RedisServer) -> None:
    store = opened(server)
    responses = SharedResponses(store, ResponsesOptions())
    store.is_up = False
    for name in ("a", "b"):
        await responses.put(replace(entry(name), body=b"old"))
    store.is_up = True
    await responses.put(entry("a"))
    assert await responses.get("key", "a") == entry("a")
    store.is_up = False
    with pytest.raises(TwowireError):
        await responses.delete("key", "b")
    store.is_up = True
    assert await responses.get("key", "b") is not None
    for name in ("a", "b"):
        assert await responses.delete("key", name)
        assert await responses.get("key", name) is None
    await store.close()


async def test_what_is_made_while_the_store_is_down_is_kept_here(server: RedisServer) -> None:
    store = opened(server)
    responses = SharedResponses(store, ResponsesOptions())
    await responses.put(entry("before"))
    server.kill()
    assert await responses.put(entry("a"))
    assert await responses.put(entry("b", "a"))
    assert await responses.chain("key", "b") == [entry("a"), entry("b", "a")]
    assert await responses.find_item("key", "in_b") == b"{}"
    with pytest.raises(TwowireError) as failed:
        await responses.get("key", "before")
    assert (failed.value.fault, failed.value.retry_after_s) == (Fault.STORE_FAILED, 5)
    server.start()
    store.is_up = True
    await responses.put(entry("after"))
    assert await responses.put(entry("c", "after"))
    assert await responses.chain("key", "c") == [entry("after"), entry("c", "after")]
    assert await responses.chain("key", "b") == [entry("a"), entry("b", "a")]
    await store.close()
