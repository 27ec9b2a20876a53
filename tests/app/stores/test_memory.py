"""The store in memory: what it keeps and for how long, and drawing from several buckets at once."""

from __future__ import annotations

from app.stores.base import Draw
from app.stores.memory import FIRST_SWEEP, MemoryStore
from tests.app.channel.channels import Clock


async def test_a_value_is_there_until_it_expires_or_is_deleted() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    await store.put("short", b"1", ttl_s=10)
    await store.put("long", b"2", ttl_s=20)
    await store.put("kept", b"3")
    assert [await store.get(key) for key in ("short", "long", "kept", "other")] == [b"1", b"2", b"3", None]
    clock.now += 10
    assert [await store.get(key) for key in ("short", "long", "kept")] == [None, b"2", b"3"]
    await store.delete("kept")
    await store.delete("kept")
    assert await store.get("kept") is None


async def test_a_claim_holds_until_it_expires() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    assert [await store.claim("a", 10), await store.claim("a", 10), await store.claim("b", 10)] == [True, False, True]
    clock.now += 10
    assert await store.claim("a", 10)


async def test_putting_again_replaces_the_value_and_its_time() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    await store.put("a", b"1", ttl_s=10)
    await store.put("a", b"2", ttl_s=20)
    clock.now += 10
    await store.put("b", b"3")
    assert [await store.get("a"), await store.get("b")] == [b"2", b"3"]
    clock.now += 10
    assert await store.get("a") is None


async def test_what_has_expired_is_dropped_and_nothing_is_left_of_it() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    for number in range(100):
        await store.put(f"short {number}", b"", ttl_s=10)
    clock.now += 10
    await store.put("kept", b"")
    assert len(store) == 1
    assert store._by_ttl == {}


async def test_all_buckets_are_drawn_from_or_none() -> None:
    store = MemoryStore(Clock())
    few, many = Draw("few", 2, needed=1, amount=1), Draw("many", 10, needed=4, amount=4)
    assert await store.draw([few, many]) == (True, (1, 6))
    assert await store.draw([few, many]) == (True, (0, 2))
    assert await store.draw([many, few]) == (False, (2, 0))
    assert await store.draw([few]) == (False, (0,))
    assert await store.draw([Draw("many", 10, needed=2, amount=3)]) == (True, (-1,))


async def test_what_was_used_is_taken_though_the_draw_is_refused() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    await store.draw([Draw("a", 60, amount=60)])
    clock.now += 30
    drawn = await store.draw([Draw("a", 60, needed=1, amount=1, used=30, used_over_s=30)])
    assert drawn == (False, (0,))


async def test_full_buckets_are_forgotten_and_no_others() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    await store.draw([Draw("overdrawn", 60, amount=600)])
    for number in range(FIRST_SWEEP - 1):
        await store.draw([Draw(f"bucket {number}", 60, amount=1)])
    clock.now += 1
    await store.draw([Draw("fresh", 60, amount=1), Draw("another", 60, amount=1)])
    assert len(store) == 3
    assert (await store.draw([Draw("overdrawn", 60)])).levels == (-539,)
