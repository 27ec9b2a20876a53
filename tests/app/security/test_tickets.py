"""Tickets: each opens one socket, soon, for whom it was given to."""

from __future__ import annotations

import pytest

from app.security.tickets import LIFETIME_S, MAX_PER_OWNER, Tickets
from app.stores.memory import MemoryStore
from protocol.errors import Fault, TwowireError
from tests.app.channel.channels import Clock

ORIGIN = "https://chat.example.com"


async def refusal(office: Tickets, ticket: str, origin: str | None) -> tuple[Fault, str]:
    with pytest.raises(TwowireError) as refused:
        await office.redeem(ticket, origin)
    return refused.value.fault, refused.value.message


async def test_a_ticket_stands_for_its_key_once() -> None:
    office = Tickets(MemoryStore())
    first, second = await office.issue("key 1", ORIGIN), await office.issue("key 2", ORIGIN)
    assert await office.redeem(second, ORIGIN) == "key 2"
    assert await office.redeem(first, ORIGIN) == "key 1"
    assert (await refusal(office, first, ORIGIN))[0] is Fault.INVALID_API_KEY


async def test_it_is_good_until_it_expires() -> None:
    clock = Clock()
    office = Tickets(MemoryStore(clock))
    in_time, late = await office.issue("key", ORIGIN), await office.issue("key", ORIGIN)
    clock.now += LIFETIME_S - 0.01
    assert await office.redeem(in_time, ORIGIN) == "key"
    clock.now += 0.01
    assert (await refusal(office, late, ORIGIN))[0] is Fault.INVALID_API_KEY


@pytest.mark.parametrize(("issued", "shown"), [(ORIGIN, "https://evil.example"), (ORIGIN, None), (None, ORIGIN)])
async def test_it_is_bound_to_the_origin_and_used_up_by_the_wrong_one(issued: str | None, shown: str | None) -> None:
    office = Tickets(MemoryStore())
    ticket = await office.issue("key", issued)
    assert (await refusal(office, ticket, shown))[0] is Fault.INVALID_API_KEY
    assert (await refusal(office, ticket, issued))[0] is Fault.INVALID_API_KEY


async def test_unknown_used_late_and_anothers_look_alike() -> None:
    clock = Clock()
    office = Tickets(MemoryStore(clock))
    used, late, anothers = [await office.issue("key", ORIGIN) for _ in range(3)]
    await office.redeem(used, ORIGIN)
    shown = [("unknown", ORIGIN), (used, ORIGIN), (anothers, None)]
    refusals = {await refusal(office, ticket, origin) for ticket, origin in shown}
    clock.now += LIFETIME_S
    refusals.add(await refusal(office, late, ORIGIN))
    assert len(refusals) == 1


async def test_tickets_cannot_be_guessed_and_fit_a_subprotocol() -> None:
    office = Tickets(MemoryStore())
    tickets = {await office.issue("key", None) for _ in range(100)}
    assert len(tickets) == 100
    # RFC 6455, section 4.1: a subprotocol is a token. 32 characters of base64 are 192 bits.
    assert all(len(ticket) == 32 and ticket.replace("-", "").replace("_", "").isalnum() for ticket in tickets)


async def test_a_flood_costs_its_owner_the_oldest_tickets_and_nobody_else() -> None:
    store = MemoryStore()
    office = Tickets(store)
    anothers = await office.issue("key 2", None)
    tickets = [await office.issue("key 1", None) for _ in range(MAX_PER_OWNER + 10_000)]
    assert len(store) == MAX_PER_OWNER + 1
    assert await office.redeem(anothers, None) == "key 2"
    assert await office.redeem(await office.issue("key 2", None), None) == "key 2"
    assert (await refusal(office, tickets[-MAX_PER_OWNER - 1], None))[0] is Fault.INVALID_API_KEY
    for ticket in tickets[-MAX_PER_OWNER:]:
        assert await office.redeem(ticket, None) == "key 1"
    assert len(store) == 0


async def test_what_has_expired_makes_room() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    office = Tickets(store)
    for _ in range(MAX_PER_OWNER):
        await office.issue("key", None)
    clock.now += LIFETIME_S
    assert await office.redeem(await office.issue("key", None), None) == "key"
    assert len(store) == 0
