"""All stores of responses: what they keep, for whom, within which limits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.stores.base import StoreOptions
from app.stores.memory import MemoryStore
from app.stores.redis import RedisStore
from app.stores.responses.base import CONVERSATION_BYTES, ENTRY_BYTES, Entry, Item, ResponsesOptions, ResponseStore
from app.stores.responses.memory import MemoryResponses
from app.stores.responses.open import open_responses
from app.stores.responses.shared import SharedResponses
from app.stores.responses.sqlite import SqliteResponses
from app.stores.shared import SharedStore
from tests.app.channel.channels import Clock
from tests.app.relay.leaders import leader_in
from tests.live.servers.programs.redis_server import MISSING, PROGRAM, RedisServer, redis_server

Open = Callable[[ResponsesOptions], Awaitable[ResponseStore]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if PROGRAM is None:
        pytest.skip(MISSING)
    with redis_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(params=["memory", "API server 0", "sqlite", "redis"])
async def opened(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Open]:
    stores: list[ResponseStore] = []
    shared: list[SharedStore] = []
    async with leader_in(tmp_path) as leader:

        async def open_store(options: ResponsesOptions) -> ResponseStore:
            if request.param == "memory":
                return MemoryResponses(options, clock)
            if request.param == "sqlite":
                return SqliteResponses(tmp_path / "responses.db", options, clock)
            if request.param == "redis":
                url = request.getfixturevalue("redis").url
                remote = RedisStore(StoreOptions(SecretStr(url), store_timeout_s=30.0))
                await remote.client.flushall()
                shared.append(SharedStore(remote, url))
            else:
                leader.start(responses=MemoryResponses(options, clock))
                shared.append(SharedStore(leader.store(), "API server 0"))
            return SharedResponses(shared[-1], options, clock)

        async def open_and_close(options: ResponsesOptions) -> ResponseStore:
            stores.append(await open_store(options))
            return stores[-1]

        yield open_and_close
        for store in stores:
            await store.close()
        for each in shared:
            assert each.failures == 0
            await each.close()


def item(name: str, text: str = "") -> Item:
    return Item(name, b'{"id":"%b","text":"%b"}' % (name.encode(), text.encode()))


def entry(name: str, owner: str = "", parent: str | None = None, body: bytes = b"{}") -> Entry:
    return Entry(name, owner, body, (item(f"in_{name}"),), (item(f"out_{name}"),), parent)


async def test_an_entry_is_there_until_it_is_deleted(opened: Open) -> None:
    store = await opened(ResponsesOptions())
    await store.put(entry("a"))
    assert await store.get("", "a") == entry("a")
    assert await store.find_item("", "out_a") == item("out_a").json
    assert await store.delete("", "a")
    assert not await store.delete("", "a")
    assert await store.get("", "a") is None
    assert await store.find_item("", "out_a") is None


async def test_the_head_of_an_entry_has_no_items(opened: Open) -> None:
    store = await opened(ResponsesOptions())
    await store.put(entry("a", "alice", parent="b", body=b"[]"))
    assert await store.head("alice", "a") == Entry("a", "alice", b"[]", parent="b")
    assert await store.head("bob", "a") is None
    assert await store.head("alice", "b") is None


async def test_nothing_of_one_key_exists_for_another(opened: Open) -> None:
    store = await opened(ResponsesOptions())
    await store.put(entry("a", "alice"))
    await store.put(entry("a", "bob", body=b"[]"))
    assert await store.get("alice", "a") == entry("a", "alice")
    for owner in ("carol", ""):
        assert await store.get(owner, "a") is None
        assert await store.chain(owner, "a") is None
        assert await store.find_item(owner, "in_a") is None
        assert not await store.replace(owner, "a", b"x")
        assert not await store.append(owner, "a", [item("i")])
        assert not await store.remove_item(owner, "a", "in_a")
        assert not await store.delete(owner, "a")
    assert await store.delete("alice", "a")
    assert await store.get("bob", "a") == entry("a", "bob", body=b"[]")


async def test_a_chain_has_all_its_entries_or_there_is_none(opened: Open) -> None:
    store = await opened(ResponsesOptions())
    chain = [entry("a"), entry("b", parent="a"), entry("c", parent="b")]
    for each in chain:
        await store.put(each)
    assert await store.chain("", "c") == chain
    assert await store.chain("", "b") == chain[:2]
    await store.delete("", "a")
    assert await store.chain("", "c") is None


async def test_items_are_added_and_removed_in_order(opened: Open) -> None:
    store = await opened(ResponsesOptions())
    await store.put(Entry("conv", "", b"{}"))
    assert await store.append("", "conv", [item("1"), item("2")])
    assert await store.append("", "conv", [item("3")])
    assert await store.remove_item("", "conv", "2")
    assert not await store.remove_item("", "conv", "2")
    assert await store.append("", "conv", [item("4")])
    assert await store.replace("", "conv", b"[]")
    assert await store.get("", "conv") == Entry("conv", "", b"[]", (item("1"), item("3"), item("4")))


async def test_an_item_is_found_while_one_of_its_entries_is_kept(opened: Open) -> None:
    store = await opened(ResponsesOptions())
    await store.put(entry("a"))
    await store.put(Entry("conv", "", b"{}", (item("out_a"),)))
    await store.delete("", "a")
    assert await store.find_item("", "out_a") == item("out_a").json


async def test_many_responses_stay_within_the_bound_and_the_oldest_go(opened: Open) -> None:
    limits = ResponsesOptions(max_bytes=1 << 20, max_per_key=100_000)
    store = await opened(limits)
    count, text = 1000, b"x" * 4096
    for number in range(count):
        assert await store.put(Entry(f"r{number}", "", text))
    fitting = limits.max_bytes // (len(text) + ENTRY_BYTES)
    kept = [number for number in range(count) if await store.get("", f"r{number}") is not None]
    assert kept == list(range(count - fitting, count))


async def test_the_key_with_the_most_makes_room(opened: Open) -> None:
    store = await opened(ResponsesOptions(max_bytes=1 << 20))
    await store.put(Entry("small", "bob", b"x" * 1000))
    for number in range(30):
        await store.put(Entry(f"r{number}", "alice", b"x" * 100_000))
    assert await store.get("bob", "small") is not None
    assert await store.get("alice", "r29") is not None
    assert await store.get("alice", "r0") is None


async def test_a_key_has_at_most_so_many(opened: Open) -> None:
    store = await opened(ResponsesOptions(max_per_key=3))
    for number in range(5):
        await store.put(entry(f"r{number}", "alice"))
    await store.put(entry("other", "bob"))
    found = [number for number in range(5) if await store.get("alice", f"r{number}") is not None]
    assert found == [2, 3, 4]
    assert await store.get("bob", "other") is not None


async def test_one_larger_than_all_room_is_not_kept(opened: Open) -> None:
    store = await opened(ResponsesOptions(max_bytes=1 << 20))
    await store.put(entry("a"))
    assert not await store.put(Entry("b", "", b"x" * (1 << 20)))
    assert not await store.append("", "a", [item("i", "x" * (1 << 20))])
    assert await store.get("", "a") == entry("a")


async def test_what_is_continued_stays(opened: Open, clock: Clock) -> None:
    store = await opened(ResponsesOptions(keep_s=100, max_per_key=3))
    for number, parent in enumerate([None, "r0", None]):
        clock.now += 1
        await store.put(replace(entry(f"r{number}"), parent=parent))
    clock.now += 1
    assert await store.chain("", "r1") is not None
    await store.put(entry("r3"))
    assert await store.get("", "r2") is None
    assert await store.get("", "r0") is not None
    clock.now += 99
    assert await store.chain("", "r1") is not None
    clock.now += 100
    assert await store.get("", "r0") is None
    assert await store.chain("", "r1") is None


async def test_the_totals_are_those_of_what_is_kept(opened: Open) -> None:
    store = await opened(ResponsesOptions())
    assert store.totals == (0, 0)
    await store.put(entry("a", "alice"))
    await store.put(entry("b", "bob"))
    assert store.totals == (2, entry("a").size + entry("b").size)
    await store.append("bob", "b", [item("more")])
    await store.delete("alice", "a")
    assert store.totals == (1, replace(entry("b"), items=(*entry("b").items, item("more"))).size)


async def test_memory_of_several_api_servers_bounds_a_conversation() -> None:
    options = ResponsesOptions()
    assert open_responses(options, MemoryStore(), of_several=True).max_conversation_bytes == CONVERSATION_BYTES
    assert open_responses(options, MemoryStore()).max_conversation_bytes == options.max_bytes
