"""Tickets: a browser cannot send a header with a WebSocket handshake, so it exchanges its API key for a ticket first.

A ticket is random, opens one socket, expires soon, and is valid only for the key and the Origin it was issued to. Each
key has a limited number of them; a new one beyond that invalidates the key's own oldest.
"""

from __future__ import annotations

import secrets

import orjson

from app.stores.base import Group, Store
from protocol.errors import Fault, TwowireError

LIFETIME_S = 30
MAX_PER_OWNER = 100
TICKET_BYTES = 24


class Tickets:
    """Issues tickets and redeems them, each once."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def issue(self, owner: str | None, origin: str | None) -> str:
        """A new ticket; if its owner already has `MAX_PER_OWNER`, the oldest of these becomes invalid."""
        ticket = secrets.token_urlsafe(TICKET_BYTES)
        await self._store.put(
            _key(ticket),
            orjson.dumps([owner, origin]),
            ttl_s=LIFETIME_S,
            group=Group(f"tickets:{owner or ''}", MAX_PER_OWNER),
        )
        return ticket

    async def redeem(self, ticket: str, origin: str | None) -> str | None:
        """The ticket's owner. It is used up even if it is refused.

        Raises `TwowireError` (401). The error does not reveal whether the ticket is unknown, used, expired or someone
        else's.
        """
        value = await self._store.pop(_key(ticket))
        if value is not None:
            owner: str | None
            owner, issued_to = orjson.loads(value)
            if issued_to == origin:
                return owner
        raise TwowireError(Fault.INVALID_API_KEY, "The ticket is unknown, used, expired, or for another origin.")


def _key(ticket: str) -> str:
    return f"ticket:{ticket}"
