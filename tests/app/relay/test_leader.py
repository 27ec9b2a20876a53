"""What API server 0 holds, as the others find it: while it runs, when it dies, and when it has been replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.relay import held
from app.relay import leader as module
from app.relay.held import HOLD
from app.relay.messages import proof, receive, send
from app.security.api_keys import KeyRing
from app.security.tickets import Tickets
from app.stores import shared
from app.stores.base import Draw
from app.stores.redis import StoreUnavailable
from app.stores.responses.base import Entry, Item
from app.stores.responses.history import not_appended
from app.stores.responses.memory import MemoryResponses
from app.stores.responses.shared import SharedResponses
from app.stores.shared import SharedStore
from protocol.errors import Fault, TwowireError
from tests.app.relay.leaders import OPTIONS, Leader, leader_in

SOON_S = 30
SECRET = b"a secret of all servers"
KEYS = ["key-one-0123456789"]
ODD = Entry("résp\n1", "key", b'{"a":"\xc3\xa9\\"\\u0000"}', (Item("i\n", b'"\xf0\x9f\x98\x80"'),), (), "a b")


@pytest_asyncio.fixture
async def leader(tmp_path: Path) -> AsyncIterator[Leader]:
    async with leader_in(tmp_path) as found:
        yield found


async def until_up(store: SharedStore) -> None:
    async with asyncio.timeout(SOON_S):
        while not store.is_up:  # noqa: ASYNC110  # the store has no event to wait for
            await asyncio.sleep(0.01)


async def test_all_of_them_draw_from_the_same_buckets(leader: Leader) -> None:
    leader.start()
    stores = [SharedStore(leader.store(), "API server 0") for _ in range(2)]
    calls = [store.draw([Draw("a", 60, needed=1, amount=1)]) for store in stores for _ in range(100)]
    granted = sum(drawn.is_granted for drawn in await asyncio.gather(*calls))
    assert 60 <= granted <= 62
    assert [store.failures for store in stores] == [0, 0]
    for store in stores:
        await store.close()


async def test_a_ticket_of_one_opens_one_socket_on_any_of_them(leader: Leader) -> None:
    leader.start()
    stores = [SharedStore(leader.store(), "API server 0") for _ in range(2)]
    one, other = (Tickets(store, KeyRing(KEYS), place="this server") for store in stores)
    owner = KeyRing(KEYS).check([f"Bearer {KEYS[0]}"])
    ticket = one.issue(owner, None)
    assert await other.redeem(ticket, None) == owner
    with pytest.raises(TwowireError):
        await one.redeem(ticket, None)
    for store in stores:
        await store.close()


async def test_a_response_keeps_every_byte_of_it(leader: Leader) -> None:
    leader.start()
    store = SharedStore(leader.store(), "API server 0")
    responses = SharedResponses(store, OPTIONS)
    assert await responses.put(ODD)
    assert await responses.get("key", ODD.id) == ODD
    assert responses.totals == (1, ODD.size)
    await store.close()


async def test_a_conversation_grows_to_its_bound_and_its_head_moves_no_items(leader: Leader) -> None:
    most = 100_000
    leader.start(MemoryResponses(OPTIONS, max_conversation_bytes=most))
    remote = leader.store()
    remote._large._line_bytes = most // 10  # The largest answer that this side reads.
    store = SharedStore(remote, "API server 0")
    responses = SharedResponses(store, OPTIONS)
    assert await responses.put(Entry("conv_a", "key", b"{}"))
    item = Item("i", b'"%b"' % (b"x" * 9000))
    added = [await responses.append("key", "conv_a", [item]) for _ in range(20)]
    assert added == [True] * 10 + [False] * 10
    assert most - 10_000 < responses.totals[1] <= most
    error = await not_appended(responses, "key", "conv_a", "items")
    assert (error.fault, error.param) == (Fault.INVALID_VALUE, "items")
    assert await responses.head("key", "conv_a") == Entry("conv_a", "key", b"{}")
    with pytest.raises(TwowireError):
        await responses.get("key", "conv_a")
    await store.close()


async def test_what_is_larger_than_a_conversation_may_be_is_not_sent(leader: Leader) -> None:
    """API server 0 would take it here: its own bound is larger."""
    leader.start()
    store = SharedStore(leader.store(), "API server 0")
    responses = SharedResponses(store, OPTIONS, max_conversation_bytes=10_000)
    assert await responses.put(Entry("conv_a", "key", b"{}"))
    assert not await responses.append("key", "conv_a", [Item("i", b"x" * 10_000)])
    assert "10000 bytes" in (await not_appended(responses, "key", "conv_a", "items")).message
    assert (await not_appended(responses, "key", "conv_b", "items")).fault is Fault.CONVERSATION_NOT_FOUND
    await store.close()


async def test_a_long_chain_comes_in_several_answers(leader: Leader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "CHAIN_BYTES", 25_000)
    leader.start()
    remote = leader.store()
    remote._large._line_bytes = 30_000
    store = SharedStore(remote, "API server 0")
    responses = SharedResponses(store, OPTIONS)
    chain = [Entry(str(n), "key", b"x" * 10_000, parent=str(n - 1) if n else None) for n in range(7)]
    for each in chain:
        assert await responses.put(each)
    assert await responses.chain("key", "6") == chain
    await responses.delete("key", "0")
    assert await responses.chain("key", "6") is None
    await store.close()


async def test_without_it_no_call_fails_and_new_responses_are_kept_here(leader: Leader) -> None:
    leader.start()
    remote = leader.store()
    store = SharedStore(remote, "API server 0")
    responses = SharedResponses(store, OPTIONS)
    await responses.put(Entry("old", "key", b"{}"))
    await store.claim("used before", 60)
    await leader.kill()
    remote._small.timeout_s = remote._large.timeout_s = 0.05
    with pytest.raises(TwowireError) as failed:
        await responses.get("key", "old")
    assert failed.value.fault is Fault.STORE_FAILED
    assert (await store.draw([Draw("a", 60, amount=60)])).levels == (0,)
    assert not await store.claim("used before", 60)
    assert await store.claim("used now", 60)
    assert await responses.put(Entry("new", "key", b"{}"))
    assert await responses.get("key", "new") is not None
    assert not store.is_up
    await store.close()


async def test_the_next_one_is_used_at_once_and_begins_anew(leader: Leader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "FIRST_RETRY_S", 0.01)
    leader.start()
    remote = leader.store()
    store = SharedStore(remote, "API server 0")
    store.start()
    responses = SharedResponses(store, OPTIONS)
    await store.draw([Draw("a", 60, amount=60)])
    await responses.put(Entry("old", "key", b"{}"))
    await leader.kill()
    # Its socket is the parent's, so calls now wait for an answer.
    remote._small.timeout_s = 0.05
    assert (await store.draw([Draw("b", 60, amount=60)])).levels == (0,)
    assert not store.is_up
    remote._small.timeout_s = SOON_S
    leader.start()
    await until_up(store)
    assert (await store.draw([Draw("a", 60)])).levels == (60,)
    assert (await store.draw([Draw("b", 60)])).levels == (60,), "not the bucket from when it was away"
    assert await responses.get("key", "old") is None
    await store.close()


async def test_calls_wait_within_bounds_and_fail_once_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    begun: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def read_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(4):  # What kind of connection it is, and the calls.
            assert await receive(reader, 1000) is not None
        begun.put_nowait(writer)

    async with await asyncio.start_unix_server(read_only, tmp_path / "socket"):
        store = module.LeaderStore(tmp_path / "socket")
        calls = [asyncio.create_task(store.get(str(number))) for number in range(3)]
        async with asyncio.timeout(SOON_S):
            writer = await begun.get()
            with pytest.raises(StoreUnavailable, match="too many calls"):
                await store.get("one too many")
            writer.close()
            failures = await asyncio.gather(*calls, return_exceptions=True)
        assert [str(failure) for failure in failures] == ["ConnectionError: API server 0 has closed the connection"] * 3
        await store.close()


async def test_a_call_on_a_connection_that_is_just_closing_fails_as_one_that_is_closed(leader: Leader) -> None:
    """The reader of answers has not run yet, and uvloop does not let anybody write anymore."""
    leader.start()
    store = leader.store()
    await store.get("a")
    assert store._small._writer is not None
    store._small._writer.close()
    with pytest.raises(StoreUnavailable, match="has closed"):
        await store.get("a")
    assert not store._small._waiting
    await store.close()


async def test_only_api_servers_of_the_same_server_are_answered(leader: Leader) -> None:
    """Over TCP, where other servers ask."""
    leader.start()
    server = await leader.listener.serve_tcp("127.0.0.1", 0, SECRET)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    async with asyncio.timeout(SOON_S):
        challenge = await receive(reader, 1000)
        assert challenge is not None
        request = {"op": HOLD}
        await send(writer, request | {"proof": proof(SECRET, challenge["challenge"], request)})
        assert await receive(reader, 1000) is None
    writer.close()
