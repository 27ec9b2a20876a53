"""Tickets: each opens one socket, soon, for whom it was given to."""

from __future__ import annotations

import base64

import pytest

from app.security.api_keys import KeyRing
from app.security.tickets import LIFETIME_S, Tickets
from app.stores.base import Store
from app.stores.memory import MemoryStore
from protocol.errors import Fault, TwowireError
from tests.app.channel.channels import Clock

ORIGIN = "https://chat.example.com"
KEYS = ("key-one-0123456789", "key-two-0123456789")


def office(
    store: Store | None = None, keys: tuple[str, ...] = KEYS, clock: Clock | None = None, place: str = ""
) -> Tickets:
    clock = clock or Clock()
    return Tickets(MemoryStore(clock) if store is None else store, KeyRing(keys), clock, place=place)


def owner_of(key: str) -> str:
    owner = KeyRing([key]).check([f"Bearer {key}"])
    assert owner is not None
    return owner


ONE, TWO = map(owner_of, KEYS)


async def refusal(office: Tickets, ticket: str, origin: str | None) -> tuple[Fault, str]:
    with pytest.raises(TwowireError) as refused:
        await office.redeem(ticket, origin)
    return refused.value.fault, refused.value.message


async def test_a_ticket_stands_for_its_key_once() -> None:
    tickets = office()
    first, second = tickets.issue(ONE, ORIGIN), tickets.issue(TWO, ORIGIN)
    assert await tickets.redeem(second, ORIGIN) == TWO
    assert await tickets.redeem(first, ORIGIN) == ONE
    assert (await refusal(tickets, first, ORIGIN))[0] is Fault.INVALID_API_KEY


async def test_it_is_good_until_it_expires() -> None:
    clock = Clock()
    tickets = office(clock=clock)
    in_time, late = tickets.issue(ONE, ORIGIN), tickets.issue(ONE, ORIGIN)
    clock.now += LIFETIME_S - 0.01
    assert await tickets.redeem(in_time, ORIGIN) == ONE
    clock.now += 0.01
    assert (await refusal(tickets, late, ORIGIN))[0] is Fault.INVALID_API_KEY


@pytest.mark.parametrize(("issued", "shown"), [(ORIGIN, "https://evil.example"), (ORIGIN, None), (None, ORIGIN)])
async def test_it_is_bound_to_the_origin_and_used_up_by_the_wrong_one(issued: str | None, shown: str | None) -> None:
    tickets = office()
    ticket = tickets.issue(ONE, issued)
    assert (await refusal(tickets, ticket, shown))[0] is Fault.INVALID_API_KEY
    assert (await refusal(tickets, ticket, issued))[0] is Fault.INVALID_API_KEY


async def test_unknown_forged_used_late_and_anothers_look_alike() -> None:
    clock = Clock()
    tickets = office(clock=clock)
    used, late, anothers, whole = [tickets.issue(ONE, ORIGIN) for _ in range(4)]
    await tickets.redeem(used, ORIGIN)
    decoded = base64.urlsafe_b64decode(whole)
    forged = base64.urlsafe_b64encode(decoded[:-1] + bytes([decoded[-1] ^ 1])).decode()
    shown = [("unknown", ORIGIN), ("", ORIGIN), ("é" * 76, ORIGIN), (used, ORIGIN), (anothers, None), (forged, ORIGIN)]
    refusals = {await refusal(tickets, ticket, origin) for ticket, origin in shown}
    clock.now += LIFETIME_S
    refusals.add(await refusal(tickets, late, ORIGIN))
    assert len(refusals) == 1
    clock.now -= LIFETIME_S
    assert await tickets.redeem(whole, ORIGIN) == ONE


async def test_tickets_cannot_be_guessed_and_fit_a_subprotocol() -> None:
    tickets = office()
    issued = {tickets.issue(ONE, None) for _ in range(100)}
    assert len(issued) == 100
    # RFC 6455, section 4.1: a subprotocol is a token, which has no "=".
    assert all(len(ticket) == 76 and ticket.replace("-", "").replace("_", "").isalnum() for ticket in issued)


async def test_issuing_them_costs_no_memory_and_using_them_only_until_they_have_expired() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    tickets = office(store, clock=clock)
    issued = [tickets.issue(ONE, None) for _ in range(100)]
    assert len(store) == 0
    for ticket in issued:
        await tickets.redeem(ticket, None)
    clock.now += 2 * LIFETIME_S
    await tickets.redeem(tickets.issue(ONE, None), None)
    assert len(store) == 1


async def test_servers_with_one_store_accept_each_others_tickets_once() -> None:
    clock = Clock()
    store = MemoryStore(clock)
    here, there = office(store, clock=clock), office(store, clock=clock)
    first, second = here.issue(ONE, ORIGIN), there.issue(TWO, ORIGIN)
    assert await there.redeem(first, ORIGIN) == ONE
    assert await here.redeem(second, ORIGIN) == TWO
    assert (await refusal(here, first, ORIGIN))[0] is Fault.INVALID_API_KEY
    assert (await refusal(there, second, ORIGIN))[0] is Fault.INVALID_API_KEY


async def test_servers_without_one_store_do_not_since_they_could_not_tell_whether_it_was_used() -> None:
    clock = Clock()
    here, there = office(clock=clock, place="here"), office(clock=clock, place="there")
    assert (await refusal(there, here.issue(ONE, ORIGIN), ORIGIN))[0] is Fault.INVALID_API_KEY


async def test_the_tickets_of_a_key_that_was_removed_are_refused() -> None:
    clock = Clock()
    keys = KeyRing(KEYS)
    tickets = Tickets(MemoryStore(clock), keys, clock, place="")
    ticket, kept = tickets.issue(ONE, ORIGIN), tickets.issue(TWO, ORIGIN)
    keys.replace(KEYS[1:])
    assert (await refusal(tickets, ticket, ORIGIN))[0] is Fault.INVALID_API_KEY
    assert await tickets.redeem(kept, ORIGIN) == TWO


async def test_a_server_without_keys_issues_tickets_that_open_nothing() -> None:
    tickets = office(keys=())
    assert (await refusal(tickets, tickets.issue(None, ORIGIN), ORIGIN))[0] is Fault.INVALID_API_KEY
