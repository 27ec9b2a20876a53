"""Tickets: how a browser, which cannot set a header on a WebSocket, shows that it has a key.

Does not know the key, only a label of it, nor the socket. A ticket is random, opens one socket, soon expires, and is
good only for the key and the Origin that it was given to. The number per key is limited: another one
invalidates the key's own oldest.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from protocol.errors import Fault, TwowireError

LIFETIME_S = 30
MAX_PER_OWNER = 100
TICKET_BYTES = 24


@dataclass(frozen=True, slots=True)
class _Ticket:
    owner: str | None
    origin: str | None
    expires_at: float


class TicketOffice:
    """Issues tickets and takes them back, each once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tickets: dict[str, _Ticket] = {}
        self._by_owner: dict[str | None, dict[str, None]] = {}

    def __len__(self) -> int:
        """Tickets that are valid now."""
        return len(self._tickets)

    def issue(self, owner: str | None, origin: str | None) -> str:
        """A new ticket; if its owner already has `MAX_PER_OWNER`, the oldest of these becomes invalid."""
        now = self._clock()
        # They expire in the order in which they were issued.
        while self._tickets and (oldest := next(iter(self._tickets))) and self._tickets[oldest].expires_at <= now:
            self._forget(oldest)
        own = self._by_owner.get(owner, {})
        if len(own) >= MAX_PER_OWNER:
            self._forget(next(iter(own)))
        ticket = secrets.token_urlsafe(TICKET_BYTES)
        self._tickets[ticket] = _Ticket(owner, origin, now + LIFETIME_S)
        self._by_owner.setdefault(owner, {})[ticket] = None
        return ticket

    def _forget(self, ticket: str) -> _Ticket | None:
        known = self._tickets.pop(ticket, None)
        if known is not None:
            own = self._by_owner[known.owner]
            del own[ticket]
            if not own:
                del self._by_owner[known.owner]
        return known

    def redeem(self, ticket: str, origin: str | None) -> str | None:
        """The owner's label. The ticket is used up, also where it was not good.

        Raises `TwowireError` (401): unknown, used, late and another's look alike.
        """
        known = self._forget(ticket)
        if known is None or known.expires_at <= self._clock() or known.origin != origin:
            raise TwowireError(Fault.INVALID_API_KEY, "The ticket is unknown, used, expired, or for another origin.")
        return known.owner
