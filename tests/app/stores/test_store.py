"""What every store does, in memory and on a real Redis server: values, claims, and drawing from buckets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic import SecretStr

from app.stores.base import Draw, Store, StoreOptions
from app.stores.memory import MemoryStore
from app.stores.redis import PREFIX, RedisStore, StoreUnavailable
from tests.app.relay.leaders import leader_in
from tests.certificates import make_certificate
from tests.live.servers.ports import unused_port
from tests.live.servers.programs.redis_server import MISSING, PROGRAM, RedisServer, redis_server

PASSWORD = "a-secret-password"
SLACK = 1.0
"""What a bucket of 60 a minute refills while a test runs, and more."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    if PROGRAM is None:
        pytest.skip(MISSING)
    with redis_server(tmp_path_factory.mktemp("redis"), password=PASSWORD) as running:
        yield running


def options(url: str, password: str | None = PASSWORD) -> StoreOptions:
    return StoreOptions(SecretStr(url), None if password is None else SecretStr(password), 30.0)


@pytest_asyncio.fixture(params=["memory", "API server 0", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    if request.param == "API server 0":
        async with leader_in(tmp_path) as leader:
            leader.start()
            held = leader.store()
            yield held
            await held.close()
        return
    redis = RedisStore(options(request.getfixturevalue("server").url))
    await redis.client.flushall()
    yield redis
    await redis.close()


async def test_a_value_is_there_until_it_is_deleted(store: Store) -> None:
    await store.put("a", b"\x00\xff")
    await store.put("b", b"1", ttl_s=60)
    await store.put("b", b"2", ttl_s=60)
    assert [await store.get(key) for key in ("a", "b", "c")] == [b"\x00\xff", b"2", None]
    await store.delete("a")
    await store.delete("a")
    assert await store.get("a") is None


async def test_of_many_callers_one_gets_a_claim(store: Store) -> None:
    claims = await asyncio.gather(*(store.claim("once", 60) for _ in range(50)))
    assert sorted(claims) == [False] * 49 + [True]
    assert await store.claim("another", 60)


async def test_all_buckets_are_drawn_from_or_none(store: Store) -> None:
    few, many = Draw("few", 2, needed=1, amount=1), Draw("many", 10, needed=4, amount=4)
    granted, levels = await store.draw([few, many])
    assert granted
    assert levels == pytest.approx((1, 6), abs=0.1)
    granted, levels = await store.draw([few, many])
    assert granted
    assert levels == pytest.approx((0, 2), abs=0.2)
    granted, levels = await store.draw([many, few])
    assert not granted
    assert levels == pytest.approx((2, 0), abs=0.3)
    granted, levels = await store.draw([Draw("many", 10, needed=2, amount=3)])
    assert granted
    assert levels == pytest.approx((-1,), abs=0.4)


async def test_a_bucket_gives_only_what_it_holds_however_many_draw_at_once(store: Store) -> None:
    drawn = await asyncio.gather(*(store.draw([Draw("a", 60, needed=1, amount=1)]) for _ in range(200)))
    granted = sum(each.is_granted for each in drawn)
    assert 60 <= granted <= 60 + SLACK * 10


async def test_what_was_used_is_taken_though_the_draw_is_refused(store: Store) -> None:
    await store.draw([Draw("a", 60, amount=60)])
    granted, levels = await store.draw([Draw("a", 60, needed=10, amount=10, used=30)])
    assert not granted
    assert levels == pytest.approx((-30,), abs=SLACK)


async def test_what_was_used_over_a_time_is_set_against_the_refill_of_that_time(store: Store) -> None:
    """A bucket not seen before was full when that time began."""
    granted, levels = await store.draw([Draw("a", 60, needed=1, used=50, used_over_s=30)])
    assert granted
    assert levels == pytest.approx((40,), abs=SLACK)
    _, levels = await store.draw([Draw("b", 60, used=10, used_over_s=30)])
    assert levels == (60,)


async def test_what_is_given_back_fills_a_bucket_no_further_than_to_the_brim(store: Store) -> None:
    await store.draw([Draw("a", 60, amount=50)])
    _, levels = await store.draw([Draw("a", 60, amount=-20)])
    assert levels == pytest.approx((30,), abs=SLACK)
    _, levels = await store.draw([Draw("a", 60, amount=-100)])
    assert levels == (60,)


async def test_nothing_is_kept_of_full_buckets_and_what_is_kept_expires(server: RedisServer) -> None:
    store = RedisStore(options(server.url))
    await store.client.flushall()
    await store.draw([Draw("full", 60, needed=1)])
    await store.draw([Draw("drawn", 60, amount=30)])
    await store.draw([Draw("drawn", 60, amount=-30)])
    assert await store.client.dbsize() == 0
    await store.draw([Draw("overdrawn", 60, amount=90)])
    assert 88_000 < await store.client.pttl(f"{PREFIX}overdrawn") < 90_100
    await store.claim("claimed", 60)
    assert 50_000 < await store.client.pttl(f"{PREFIX}claimed") <= 60_000
    await store.close()


async def test_a_store_that_has_lost_the_script_gets_it_again(server: RedisServer) -> None:
    store = RedisStore(options(server.url))
    assert (await store.draw([Draw("script", 60)])).is_granted
    await store.client.script_flush()
    assert (await store.draw([Draw("script", 60)])).is_granted
    await store.close()


async def test_a_wrong_password_is_said_without_the_password(server: RedisServer) -> None:
    store = RedisStore(options(server.url, "not-this-one"))
    with pytest.raises(StoreUnavailable) as failed:
        await store.check()
    assert "invalid username-password pair" in str(failed.value)
    assert "not-this-one" not in str(failed.value)
    await store.close()


async def test_over_tls_a_store_is_used_only_if_its_certificate_is_trusted(tmp_path: Path) -> None:
    if PROGRAM is None:
        pytest.skip(MISSING)
    certificate = make_certificate(tmp_path)
    with redis_server(tmp_path, port=unused_port(), password=PASSWORD, certificate=certificate) as running:
        trusting = RedisStore(options(f"{running.url}?ssl_ca_certs={certificate[0]}"))
        await trusting.put("a", b"1")
        assert await trusting.get("a") == b"1"
        assert (await trusting.draw([Draw("b", 60, needed=1, amount=1)])).is_granted
        await trusting.close()
        stranger = RedisStore(options(running.url))
        with pytest.raises(StoreUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await stranger.get("a")
        await stranger.close()
        plain = RedisStore(options(running.url.replace("rediss", "redis")))
        with pytest.raises(StoreUnavailable):
            await plain.get("a")
        await plain.close()


async def test_a_store_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    store = RedisStore(options(f"unix://{tmp_path}/nobody"))
    with pytest.raises(StoreUnavailable):
        await store.get("a")
    await store.close()


async def test_scripts_of_large_things_have_longer_to_answer() -> None:
    store = RedisStore(StoreOptions(SecretStr("redis://127.0.0.1:1"), store_timeout_s=0.2))
    timeouts = [client.connection_pool.connection_kwargs["socket_timeout"] for client in (store.client, store._patient)]
    assert timeouts == [0.2, 10.0]
    await store.close()
