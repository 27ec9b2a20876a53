"""Tickets: each opens one socket, soon, for whom it was given to."""

from __future__ import annotations

import pytest

from app.security.tickets import LIFETIME_S, MAX_PER_OWNER, TicketOffice
from protocol.errors import Fault, TwowireError
from tests.app.channel.channels import Clock

ORIGIN = "https://chat.example.com"


def refusal(office: TicketOffice, ticket: str, origin: str | None) -> tuple[Fault, str]:
    with pytest.raises(TwowireError) as refused:
        office.redeem(ticket, origin)
    return refused.value.fault, refused.value.message


def test_a_ticket_stands_for_its_key_once() -> None:
    office = TicketOffice()
    first, second = office.issue("key 1", ORIGIN), office.issue("key 2", ORIGIN)
    assert office.redeem(second, ORIGIN) == "key 2"
    assert office.redeem(first, ORIGIN) == "key 1"
    assert refusal(office, first, ORIGIN)[0] is Fault.INVALID_API_KEY


def test_it_is_good_until_it_expires() -> None:
    clock = Clock()
    office = TicketOffice(clock)
    in_time, late = office.issue("key", ORIGIN), office.issue("key", ORIGIN)
    clock.now += LIFETIME_S - 0.01
    assert office.redeem(in_time, ORIGIN) == "key"
    clock.now += 0.01
    assert refusal(office, late, ORIGIN)[0] is Fault.INVALID_API_KEY


@pytest.mark.parametrize(("issued", "shown"), [(ORIGIN, "https://evil.example"), (ORIGIN, None), (None, ORIGIN)])
def test_it_is_bound_to_the_origin_and_used_up_by_the_wrong_one(issued: str | None, shown: str | None) -> None:
    office = TicketOffice()
    ticket = office.issue("key", issued)
    assert refusal(office, ticket, shown)[0] is Fault.INVALID_API_KEY
    assert refusal(office, ticket, issued)[0] is Fault.INVALID_API_KEY


def test_unknown_used_late_and_anothers_look_alike() -> None:
    clock = Clock()
    office = TicketOffice(clock)
    used, late, anothers = (office.issue("key", ORIGIN) for _ in range(3))
    office.redeem(used, ORIGIN)
    refusals = {refusal(office, "unknown", ORIGIN), refusal(office, used, ORIGIN), refusal(office, anothers, None)}
    clock.now += LIFETIME_S
    refusals.add(refusal(office, late, ORIGIN))
    assert len(refusals) == 1


def test_tickets_cannot_be_guessed_and_fit_a_subprotocol() -> None:
    office = TicketOffice()
    tickets = {office.issue("key", None) for _ in range(100)}
    assert len(tickets) == 100
    # RFC 6455, section 4.1: a subprotocol is a token. 32 characters of base64 are 192 bits.
    assert all(len(ticket) == 32 and ticket.replace("-", "").replace("_", "").isalnum() for ticket in tickets)


def test_a_flood_costs_its_owner_the_oldest_tickets_and_nobody_else() -> None:
    office = TicketOffice()
    anothers = office.issue("key 2", None)
    tickets = [office.issue("key 1", None) for _ in range(MAX_PER_OWNER + 10_000)]
    assert len(office) == MAX_PER_OWNER + 1
    assert office.redeem(anothers, None) == "key 2"
    assert office.redeem(office.issue("key 2", None), None) == "key 2"
    assert refusal(office, tickets[-MAX_PER_OWNER - 1], None)[0] is Fault.INVALID_API_KEY
    for ticket in tickets[-MAX_PER_OWNER:]:
        assert office.redeem(ticket, None) == "key 1"
    assert len(office) == 0


def test_what_has_expired_makes_room() -> None:
    clock = Clock()
    office = TicketOffice(clock)
    for _ in range(MAX_PER_OWNER):
        office.issue("key", None)
    clock.now += LIFETIME_S
    assert office.redeem(office.issue("key", None), None) == "key"
    assert len(office) == 0
